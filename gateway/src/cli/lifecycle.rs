//! `daybook lifecycle`: the tables that decide, drawn.

use daybook_aggregates::lifecycle::{draw, sheets};

use super::args::{Format, Global};
use super::{Outcome, print_json, print_line};
use crate::usage::mistake;

pub(super) fn run(global: &Global, aggregate: Option<&str>, mermaid: bool) -> anyhow::Result<Outcome> {
    let mut sheets = sheets();
    if let Some(wanted) = aggregate {
        let wanted = wanted.replace('-', "_");
        let known: Vec<_> = sheets.iter().map(|sheet| sheet.aggregate).collect();
        sheets.retain(|sheet| sheet.aggregate == wanted);
        if sheets.is_empty() {
            mistake!("there is no lifecycle {wanted}; there are {}", known.join(", "));
        }
    }
    if global.format == Format::Json {
        return print_json(&sheets);
    }
    for (number, sheet) in sheets.iter().enumerate() {
        let drawn = if mermaid { draw::mermaid(sheet) } else { draw::text(sheet) };
        let gap = if number > 0 { "\n" } else { "" };
        print_line(format_args!("{gap}{}", drawn.trim_end()))?;
    }
    Ok(Outcome::Done)
}
