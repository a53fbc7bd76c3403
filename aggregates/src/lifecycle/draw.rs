//! Lifecycle tables for people: a text diagram, Mermaid, and the document `docs/lifecycles.md`.

use std::fmt::Write;

use super::Sheet;
use crate::Role;

/// A text diagram: every state with the steps that lead out of it, then the edits.
#[must_use]
pub fn text(sheet: &Sheet) -> String {
    let mut out = format!("{}\n\n", sheet.aggregate);
    line(&mut out, format_args!("  (new) ── create ──▶ {}    {}", sheet.initial, roles(sheet.creators)));
    let width = sheet.transitions.iter().map(|row| row.command.len()).max().unwrap_or(0);
    let target = sheet.states.iter().map(|state| state.len()).max().unwrap_or(0);
    for state in &sheet.states {
        line(&mut out, format_args!("  {state}"));
        let steps: Vec<_> = sheet.transitions.iter().filter(|row| row.from == *state).collect();
        for (number, row) in steps.iter().enumerate() {
            let branch = if number + 1 == steps.len() { "└" } else { "├" };
            let dashes = "─".repeat(width - row.command.len());
            let to = format!("{:<target$}", row.to);
            let rules: Vec<_> = row.rules.iter().map(|rule| rule.summary()).collect();
            let rules =
                if rules.is_empty() { String::new() } else { format!("  if {}", rules.join(" and ")) };
            line(
                &mut out,
                format_args!("    {branch}─ {} {dashes}──▶ {to}  {}{rules}", row.command, roles(row.roles)),
            );
        }
    }
    out.push('\n');
    let width = sheet.edits.iter().map(|edit| edit.command.len()).max().unwrap_or(0);
    for edit in &sheet.edits {
        let lock = edit.lock.map(|lock| format!("  unless {lock} is locked")).unwrap_or_default();
        line(
            &mut out,
            format_args!(
                "  {:<width$}  in {}  {}{lock}",
                edit.command,
                states(sheet, &edit.states),
                roles(edit.roles)
            ),
        );
    }
    out
}

/// A Mermaid state diagram.
#[must_use]
pub fn mermaid(sheet: &Sheet) -> String {
    let mut out = String::from("stateDiagram-v2\n");
    line(&mut out, format_args!("    [*] --> {}: create", sheet.initial));
    for row in &sheet.transitions {
        line(&mut out, format_args!("    {} --> {}: {}", row.from, row.to, row.command));
    }
    for state in &sheet.states {
        if !sheet.transitions.iter().any(|row| row.from == *state) {
            line(&mut out, format_args!("    {state} --> [*]"));
        }
    }
    out
}

/// The document about all lifecycles.
#[must_use]
pub fn document(sheets: &[Sheet]) -> String {
    let mut out = String::from(
        "# Lifecycles\n\n\
         Written from the tables that decide (`aggregates/src/lifecycle`), by `UPDATE_DOCS=1 cargo test -p daybook-aggregates`; a test\n\
         fails where the two differ. `daybook lifecycle NAME` prints the same, `--mermaid` the diagram alone.\n\n\
         A step or an edit that is not here is refused with `invalid_transition`; a step to the present state changes nothing.\n",
    );
    for sheet in sheets {
        section(&mut out, sheet);
    }
    out
}

fn section(out: &mut String, sheet: &Sheet) {
    line(out, format_args!("\n## {}\n\n```mermaid\n{}```\n", sheet.aggregate, mermaid(sheet)));
    line(out, format_args!("Created in `{}` by {}.\n", sheet.initial, roles(sheet.creators)));
    line(out, format_args!("| from | command | to | roles | rules |\n|---|---|---|---|---|"));
    for row in &sheet.transitions {
        let rules: Vec<_> = row.rules.iter().map(|rule| rule.summary()).collect();
        line(
            out,
            format_args!(
                "| `{}` | `{}` | `{}` | {} | {} |",
                row.from,
                row.command,
                row.to,
                roles(row.roles),
                rules.join("; ")
            ),
        );
    }
    line(out, format_args!("\n| edit | in states | roles | forbidden by a lock on |\n|---|---|---|---|"));
    for edit in &sheet.edits {
        line(
            out,
            format_args!(
                "| `{}` | {} | {} | {} |",
                edit.command,
                states(sheet, &edit.states),
                roles(edit.roles),
                edit.lock.unwrap_or("–")
            ),
        );
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a String takes every write");
}

fn roles(roles: &[Role]) -> String {
    roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
}

/// Names the fewer: the states, or those that are missing.
fn states(sheet: &Sheet, states: &[&'static str]) -> String {
    let missing: Vec<_> = sheet.states.iter().filter(|state| !states.contains(state)).copied().collect();
    match (missing.len(), states.len()) {
        (0, _) => "any state".to_owned(),
        (missing_count, count) if missing_count < count => format!("all but {}", missing.join(", ")),
        _ => states.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::sheets;

    /// `UPDATE_DOCS=1` writes the document.
    #[test]
    fn the_document_says_what_the_tables_decide() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/lifecycles.md");
        let written = document(&sheets());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &written).unwrap();
        }
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(stored, written, "run with UPDATE_DOCS=1");
    }

    #[test]
    fn a_diagram_has_every_state_step_and_edit() {
        for sheet in sheets() {
            let (text, mermaid) = (text(&sheet), mermaid(&sheet));
            for row in &sheet.transitions {
                assert!(
                    text.contains(&format!("─ {} ", row.command)),
                    "{}: {}",
                    sheet.aggregate,
                    row.command
                );
                assert!(mermaid.contains(&format!("{} --> {}: {}\n", row.from, row.to, row.command)));
            }
            for edit in &sheet.edits {
                assert!(text.contains(edit.command), "{}: {}", sheet.aggregate, edit.command);
            }
        }
    }

    #[test]
    fn every_state_can_be_reached_and_every_row_is_once() {
        for sheet in sheets() {
            let mut reached = vec![sheet.initial];
            for _ in &sheet.states {
                for row in &sheet.transitions {
                    if reached.contains(&row.from) && !reached.contains(&row.to) {
                        reached.push(row.to);
                    }
                }
            }
            assert_eq!(reached.len(), sheet.states.len(), "{}: {reached:?}", sheet.aggregate);
            for (at, row) in sheet.transitions.iter().enumerate() {
                let same =
                    |other: &&super::super::StepRow| other.from == row.from && other.command == row.command;
                assert_eq!(
                    sheet.transitions.iter().filter(same).count(),
                    1,
                    "{} row {at}: a step is decided by one row",
                    sheet.aggregate
                );
                assert!(!row.roles.is_empty(), "{} {}", sheet.aggregate, row.command);
            }
        }
    }
}
