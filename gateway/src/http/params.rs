//! Query strings: decoded pairs, each asked for by name, and none left over.

use super::problem::Problem;

/// The decoded pairs of a query string.
#[derive(Debug, Default)]
pub(super) struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// Decodes `application/x-www-form-urlencoded` pairs.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let Some(query) = query else { return Ok(Self::default()) };
        if query.len() > 16_384 {
            return Err(Problem::invalid("a query string is at most 16384 bytes"));
        }
        let pairs = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decode(name)?, decode(value)?))
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Problem::invalid("the query string is no percent-encoded UTF-8"))?;
        Ok(Self { pairs })
    }

    /// Takes the only value of a parameter; an empty one counts as absent.
    pub(super) fn one(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.all(name);
        match values.len() {
            0 => Ok(None),
            1 => Ok(values.pop()),
            _ => Err(Problem::invalid(format!("{name} may be given once"))),
        }
    }

    /// Takes all values of a parameter; empty ones count as absent.
    pub(super) fn all(&mut self, name: &str) -> Vec<String> {
        let mut values = Vec::new();
        self.pairs.retain_mut(|(pair, value)| {
            let keep = pair != name;
            if !keep && !value.is_empty() {
                values.push(std::mem::take(value));
            }
            keep
        });
        values
    }

    /// Takes a whole number.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, Problem> {
        self.one(name)?
            .map(|text| {
                text.parse().map_err(|_| Problem::invalid(format!("{name} is a whole number, got {text:?}")))
            })
            .transpose()
    }

    /// Takes `limit`: from 1. Who asks for more than there is on a page gets the largest.
    pub(super) fn limit(&mut self, default: usize, max: usize) -> Result<usize, Problem> {
        let Some(text) = self.one("limit")? else { return Ok(default) };
        let count = text.parse::<u128>().ok().filter(|n| *n > 0);
        count
            .map(|n| usize::try_from(n).unwrap_or(max).min(max))
            .ok_or_else(|| Problem::invalid(format!("limit is a number from 1 to {max}, got {text:?}")))
    }

    /// Takes what is left, for a parser of its own.
    pub(super) fn into_pairs(self) -> Vec<(String, String)> {
        self.pairs
    }

    /// Refuses what nobody asked for, so that a misspelt filter does not pass silently.
    pub(super) fn finish(self) -> Result<(), Problem> {
        match self.pairs.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::invalid(format!("unknown parameter {name:?}"))),
        }
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |b: u8| char::from(b).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_and_none_is_left_over() {
        let mut params =
            Params::parse(Some("q=white+lantern%20%C3%A9&brand=a&brand=&brand=b&limit=5&type=")).unwrap();
        assert_eq!(params.one("q").unwrap().as_deref(), Some("white lantern é"));
        assert_eq!(params.all("brand"), ["a", "b"]);
        assert!(params.all("type").is_empty());
        assert_eq!(params.limit(1, 10).unwrap(), 5);
        params.finish().unwrap();
        assert!(Params::parse(Some("qq=1")).unwrap().finish().is_err());
        assert!(Params::parse(Some("a=%f")).is_err());
        assert!(Params::parse(Some("a=%ff")).is_err());
        assert!(Params::parse(Some("a=1&a=2")).unwrap().one("a").is_err());
        let limit = |query| Params::parse(Some(query)).unwrap().limit(1, 10);
        for (query, taken) in
            [("", 1), ("limit=10", 10), ("limit=11", 10), ("limit=99999999999999999999999", 10)]
        {
            assert_eq!(limit(query).unwrap(), taken, "{query}");
        }
        for query in ["limit=0", "limit=-1", "limit=many", "limit=1.5", "limit=0x9", "limit=1&limit=2"] {
            assert!(limit(query).is_err(), "{query}");
        }
    }
}
