//! When a schema may change without a new version: whatever was valid and meant something stays valid and keeps its meaning.

use serde_json::{Map, Value};

/// What breaks, each with its place; empty: the change is compatible.
///
/// Compatible are new optional properties, new enumeration values, wider bounds and other words in descriptions. Everything
/// else needs a new version with an upcaster.
pub(crate) fn breaks(old: &Value, new: &Value) -> Vec<String> {
    let mut comparison = Comparison { old, new, found: Vec::new(), depth: 0 };
    comparison.schema("$", old, new);
    comparison.found
}

struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    found: Vec<String>,
    depth: u32,
}

impl<'a> Comparison<'a> {
    fn schema(&mut self, at: &str, old: &'a Value, new: &'a Value) {
        self.depth += 1;
        assert!(self.depth < 64, "event schemas are not recursive");
        let (old, new) = (resolve(self.old, old), resolve(self.new, new));
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => self.object(at, old, new),
            (old, new) if old == new => {}
            (old, new) => self.found.push(format!("{at}: {old} became {new}")),
        }
        self.depth -= 1;
    }

    fn object(&mut self, at: &str, old: &'a Map<String, Value>, new: &'a Map<String, Value>) {
        for keyword in ["const", "format", "pattern"] {
            if old.get(keyword) != new.get(keyword) {
                self.found.push(format!("{at}: {keyword} changed"));
            }
        }
        self.types(at, old, new);
        self.bounds(at, old, new);
        self.required(at, old, new);
        self.properties(at, old, new);
        self.alternatives(at, old, new);
        match (old.get("items"), new.get("items")) {
            (Some(old), Some(new)) => self.schema(&format!("{at}[]"), old, new),
            (None, None) => {}
            _ => self.found.push(format!("{at}: items changed")),
        }
    }

    fn types(&mut self, at: &str, old: &Map<String, Value>, new: &Map<String, Value>) {
        let names = |schema: &Map<String, Value>, keyword| match schema.get(keyword) {
            Some(Value::Array(names)) => names.clone(),
            Some(name) => vec![name.clone()],
            None => Vec::new(),
        };
        for keyword in ["type", "enum"] {
            let (old, new) = (names(old, keyword), names(new, keyword));
            let narrower = old.is_empty() && !new.is_empty();
            if narrower || !new.is_empty() && old.iter().any(|name| !new.contains(name)) {
                self.found.push(format!("{at}: {keyword} was {old:?}, is {new:?}"));
            }
        }
    }

    fn bounds(&mut self, at: &str, old: &Map<String, Value>, new: &Map<String, Value>) {
        for (keyword, upper) in [
            ("minimum", false),
            ("minLength", false),
            ("minItems", false),
            ("maximum", true),
            ("maxLength", true),
            ("maxItems", true),
        ] {
            let number = |schema: &Map<String, Value>| schema.get(keyword).and_then(Value::as_f64);
            let tighter = match (number(old), number(new)) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(old), Some(new)) => {
                    if upper {
                        new < old
                    } else {
                        new > old
                    }
                }
            };
            if tighter {
                self.found.push(format!("{at}: {keyword} is tighter"));
            }
        }
    }

    fn required(&mut self, at: &str, old: &Map<String, Value>, new: &Map<String, Value>) {
        let names = |schema: &Map<String, Value>| {
            schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let before = names(old);
        for name in names(new).iter().filter(|name| !before.contains(name)) {
            self.found.push(format!("{at}: {name} is required now"));
        }
    }

    fn properties(&mut self, at: &str, old: &'a Map<String, Value>, new: &'a Map<String, Value>) {
        let (Some(Value::Object(before)), properties) = (old.get("properties"), new.get("properties")) else {
            return;
        };
        for (name, schema) in before {
            match properties.and_then(|properties| properties.get(name)) {
                Some(new) => self.schema(&format!("{at}.{name}"), schema, new),
                None => self.found.push(format!("{at}.{name}: is gone")),
            }
        }
    }

    fn alternatives(&mut self, at: &str, old: &'a Map<String, Value>, new: &'a Map<String, Value>) {
        for keyword in ["anyOf", "oneOf", "allOf"] {
            let list = |schema: &'a Map<String, Value>| {
                schema.get(keyword).and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
            };
            let (old, new) = (list(old), list(new));
            if new.len() < old.len() || old.is_empty() && !new.is_empty() {
                self.found.push(format!("{at}: {keyword} changed"));
                continue;
            }
            for (number, (old, new)) in old.iter().zip(new).enumerate() {
                self.schema(&format!("{at}({number})"), old, new);
            }
        }
    }
}

/// Follows a reference into the definitions of the same document.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let pointer =
        schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    pointer.map_or(schema, |pointer| document.pointer(pointer).expect("references stay inside the document"))
}
