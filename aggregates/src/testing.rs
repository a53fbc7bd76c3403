//! Given / when / then over any decider, spoken in the JSON of commands and events.

use cqrs_es::DomainEvent;
use daybook_schemas::{Timestamp, Token};
use serde_json::Value;

use crate::{Command, Decider, Refusal, Reject, Roles};

type Parse<A> = fn(&str, &[u8]) -> Option<Result<A, serde_json::Error>>;

/// A stream with its state, at a time.
pub(crate) struct Scene<D: Decider> {
    pub(crate) state: D,
    pub(crate) now: Timestamp,
    pub(crate) commands: u32,
    pub(crate) roles: Roles,
    parse: Parse<D::Action>,
}

/// An event as its wire name and payload.
pub(crate) type Written = (String, Value);

impl<D> Scene<D>
where
    D: Decider + PartialEq + std::fmt::Debug,
    D::Error: Reject,
{
    pub(crate) fn new(parse: Parse<D::Action>) -> Self {
        Self { state: D::default(), now: Timestamp::from_secs(1_000), commands: 0, roles: Roles::ALL, parse }
    }

    pub(crate) fn pass(&mut self, secs: i64) -> &mut Self {
        self.now = self.now.plus_secs(secs);
        self
    }

    /// When the action is decided, and what it writes is applied.
    pub(crate) fn act(&mut self, action: D::Action) -> Result<Vec<D::Event>, D::Error> {
        self.commands += 1;
        let fresh_id = Token::new(format!("fresh-{}", self.commands)).unwrap();
        let command = Command { now: self.now, fresh_id, roles: self.roles, action };
        let events = self.state.decide(&command)?;
        for event in &events {
            self.state.apply(event.clone());
        }
        self.assert_survives_snapshot();
        Ok(events)
    }

    fn assert_survives_snapshot(&self) {
        let snapshot = serde_json::to_vec(&self.state).unwrap();
        assert_eq!(serde_json::from_slice::<D>(&snapshot).unwrap(), self.state);
        assert!(self.state.size_bytes() >= size_of::<D>());
    }

    pub(crate) fn parsed(&self, name: &str, body: &Value) -> D::Action {
        let parsed = (self.parse)(name, body.to_string().as_bytes()).expect("a command with a route");
        parsed.unwrap_or_else(|error| panic!("{name} {body}: {error}"))
    }

    /// Then it is accepted and writes these events.
    pub(crate) fn ok(&mut self, name: &str, body: Value) -> Vec<Written> {
        let action = self.parsed(name, &body);
        match self.act(action) {
            Ok(events) => events.iter().map(written).collect(),
            Err(rejection) => panic!("{name} {body} was refused: {rejection}"),
        }
    }

    /// Then it is accepted and writes events with these names.
    #[track_caller]
    pub(crate) fn writes(&mut self, name: &str, body: Value, names: &[&str]) {
        let events = self.ok(name, body);
        assert_eq!(events.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
    }

    /// Then it is refused.
    pub(crate) fn refused(&mut self, name: &str, body: Value) -> Refusal {
        let action = self.parsed(name, &body);
        match self.act(action) {
            Ok(events) => panic!("{name} {body} was accepted: {events:?}"),
            Err(rejection) => rejection.into(),
        }
    }

    /// Then it is refused with this code.
    #[track_caller]
    pub(crate) fn refuses(&mut self, name: &str, body: Value, code: &str) {
        let refusal = self.refused(name, body);
        assert_eq!(refusal.code, code, "{refusal}");
    }
}

pub(crate) fn written<E: DomainEvent>(event: &E) -> Written {
    let Value::Object(tagged) = serde_json::to_value(event).unwrap() else { panic!("events are tagged") };
    tagged.into_iter().next().unwrap()
}

/// Every command in every state by every role alone, for master data: the table says yes or no, and nothing else happens.
pub(crate) fn every_command_in_every_state<D>(
    draft: impl Fn() -> Scene<D>,
    lifecycle: fn(&D) -> daybook_schemas::master::Lifecycle,
    sheet: &crate::lifecycle::Sheet,
    commands: &[crate::CommandSpec],
    body: impl Fn(&str) -> Value,
) where
    D: Decider + PartialEq + std::fmt::Debug,
    D::Error: Reject,
{
    use daybook_schemas::master::Lifecycle;
    let way = |state| -> &'static [&'static str] {
        match state {
            Lifecycle::Draft => &[],
            Lifecycle::PendingApproval => &["submit"],
            Lifecycle::Active => &["submit", "approve"],
            Lifecycle::Deprecated => &["submit", "approve", "deprecate"],
            Lifecycle::Archived => &["archive"],
        }
    };
    for from in Lifecycle::ALL {
        for name in commands.iter().map(|spec| spec.name).filter(|name| *name != "create") {
            let rows: Vec<_> = sheet.transitions.iter().filter(|row| row.command == name).collect();
            let edit = sheet.edits.iter().find(|edit| edit.command == name);
            let row = rows.iter().find(|row| row.from == from.as_str());
            let known = row.or_else(|| rows.iter().find(|row| row.to == from.as_str()));
            let permitted = match (known, edit) {
                (Some(row), None) => Some(row.roles),
                (None, Some(edit)) => edit.states.contains(&from.as_str()).then_some(edit.roles),
                (None, None) => None,
                (Some(_), Some(_)) => panic!("{name} is a step or an edit, not both"),
            };
            for role in crate::Role::ALL {
                let mut scene = draft();
                for step in way(from) {
                    scene.ok(step, serde_json::json!({}));
                }
                assert_eq!(lifecycle(&scene.state), from);
                scene.roles = Roles::of([role]);
                let action = scene.parsed(name, &body(name));
                let code = scene.act(action).map(|_| ()).map_err(|refused| Refusal::from(refused).code);
                let expected = match permitted {
                    None => Err("invalid_transition"),
                    Some(roles) if roles.contains(&role) => Ok(()),
                    Some(_) => Err("forbidden"),
                };
                assert_eq!(code, expected, "{} {name} in {from:?} by {role:?}", sheet.aggregate);
                let target = expected.ok().and(row).map_or(from.as_str(), |row| row.to);
                assert_eq!(lifecycle(&scene.state).as_str(), target, "{} {name}", sheet.aggregate);
            }
        }
    }
    every_command_under_every_lock(&draft, sheet, &body);
}

/// Every edit and every step under every lock, for master data: refused where the table says that the lock covers it, and nowhere else.
fn every_command_under_every_lock<D>(
    draft: impl Fn() -> Scene<D>,
    sheet: &crate::lifecycle::Sheet,
    body: impl Fn(&str) -> Value,
) where
    D: Decider + PartialEq + std::fmt::Debug,
    D::Error: Reject,
{
    let edits = sheet.edits.iter().map(|row| (row.command, row.lock)).filter(|(name, _)| *name != "lock");
    let steps = sheet.transitions.iter().filter(|row| row.from == sheet.initial);
    let steps = steps.map(|row| (row.command, Some("lifecycle")));
    for (name, covered) in edits.chain(steps) {
        for scope in ["details", "lifecycle", "segmentation"] {
            let mut scene = draft();
            scene.ok("lock", serde_json::json!({"scopes": [scope], "reason": "audit"}));
            let action = scene.parsed(name, &body(name));
            let refused = scene.act(action).err().map(|refused| Refusal::from(refused).code);
            let expected = (covered == Some(scope)).then_some("locked");
            assert_eq!(refused, expected, "{} {name} under a lock on {scope}", sheet.aggregate);
        }
    }
}

/// A body that the commands of all master data take.
pub(crate) fn governing_body(name: &str) -> Option<Value> {
    Some(match name {
        "lock" => serde_json::json!({"scopes": ["details"], "reason": "audit"}),
        "unlock" => serde_json::json!({"reason": "over"}),
        "recount" => serde_json::json!({"in_use": 3}),
        "submit" | "reject" | "approve" | "activate" | "deprecate" | "reinstate" | "archive" => {
            serde_json::json!({})
        }
        _ => return None,
    })
}
