//! What operators ask a running server to do, and the copies that it streams, in the OpenAPI document.

use serde_json::{Map, Value, json};

use super::answers;

/// An operator's route: path, name, summary, and the schema of its body if it takes one.
type Operation = (&'static str, &'static str, &'static str, fn() -> Value);

const NAME: &str = "{name}";

const OPERATIONS: &[Operation] = &[
    (
        "/v1/projections/{name}/rebuild",
        "rebuild",
        "Build a new generation beside the live one, compare it with a replay, swap it in",
        nothing,
    ),
    (
        "/v1/projections/{name}/rollback",
        "rollback",
        "Go back to the generation before the last swap",
        nothing,
    ),
    (
        "/v1/projections/{name}/pause",
        "pause",
        "Stop following the log, on every gateway and through restarts, until it is resumed; queries go on",
        nothing,
    ),
    ("/v1/projections/{name}/resume", "resume", "Follow the log again, or try again after a halt", nothing),
    (
        "/v1/projections/{name}/dead-letters/retry",
        "retry_dead_letters",
        "Apply parked events again, in order",
        nothing,
    ),
    (
        "/v1/projections/{name}/dead-letters/discard",
        "discard_dead_letter",
        "Give a parked event up; leaves an event in the log",
        discard,
    ),
    (
        "/v1/operations/reconcile",
        "reconcile",
        "Compare read models with a replay of the log, row by row, and put drifted rows right if asked",
        reconcile,
    ),
    ("/v1/operations/verify", "verify", "Check the whole log", nothing),
    (
        "/v1/operations/digest",
        "digest",
        "Digests of tables, to compare read models with those of another server",
        digest,
    ),
    (
        "/v1/operations/drift",
        "drift",
        "Damage rows of a read model on purpose, where the configuration allows it",
        drift,
    ),
];

fn nothing() -> Value {
    Value::Null
}

fn object(required: &[&str], properties: Value) -> Value {
    let mut schema = json!({"type": "object", "additionalProperties": false, "required": required});
    schema["properties"] = properties;
    schema
}

fn names() -> Value {
    json!({"type": "array", "items": {"type": "string"}, "description": "Which projections; all if none is named."})
}

fn discard() -> Value {
    object(&["position", "reason"], json!({"position": {"type": "string"}, "reason": {"type": "string"}}))
}

fn reconcile() -> Value {
    object(&[], json!({"names": names(), "repair": {"type": "boolean"}}))
}

fn digest() -> Value {
    object(&["scope"], json!({"names": names(), "scope": {"enum": ["bytes", "facts"]}}))
}

fn drift() -> Value {
    let share = json!({"type": "number", "description": "Of its rows: at least one, at most 1,000."});
    object(&["projection", "share"], json!({"projection": {"type": "string"}, "share": share}))
}

/// All of them.
pub(super) fn paths() -> Map<String, Value> {
    let mut paths: Map<String, Value> =
        OPERATIONS.iter().map(|operation| (operation.0.to_owned(), path(operation))).collect();
    let letters = get(
        "get_dead_letters",
        "Events that a projector could not take",
        &json!([name()]),
        ("application/json", json!({"type": "object"})),
        &["401", "403", "404", "500", "503"],
    );
    paths.insert("/v1/projections/{name}/dead-letters".to_owned(), letters);
    let binary = || json!({"type": "string", "format": "binary"});
    let from = json!([{"name": "from", "in": "query", "description": "Only what follows this position, for incremental backups.", "schema": {"type": "string"}}]);
    let log = get(
        "get_operations_export",
        "A consistent copy of the log, as `log import` takes it",
        &from,
        ("application/octet-stream", binary()),
        &["400", "401", "403", "422", "500", "503"],
    );
    paths.insert("/v1/operations/export".to_owned(), log);
    let position = json!([{"name": "min_position", "in": "query", "description": "Wait until the catalogue has this log position, at most 2 s; else 503 projection_behind.", "schema": {"type": "string"}}]);
    let rows = get(
        "get_operations_export_variants",
        "Every variant that is not archived, a row a line, as `import variants` takes it",
        &position,
        ("application/x-ndjson", binary()),
        &["400", "401", "403", "500", "503"],
    );
    paths.insert("/v1/operations/export/variants".to_owned(), rows);
    paths
}

fn name() -> Value {
    json!({"name": "name", "in": "path", "required": true, "schema": {"type": "string"}})
}

fn path((path, operation, summary, body): &Operation) -> Value {
    let problems = ["400", "401", "403", "404", "409", "500", "503"];
    let parameters: Vec<Value> = path.contains(NAME).then(name).into_iter().collect();
    let mut value = json!({
        "tags": ["operations"], "operationId": operation, "summary": summary, "parameters": parameters,
        "responses": answers(&json!({"type": "object"}), &problems),
    });
    let schema = body();
    if !schema.is_null() {
        value["requestBody"] = json!({"content": {"application/json": {"schema": schema}}});
    }
    json!({"post": value})
}

fn get(
    operation: &str,
    summary: &str,
    parameters: &Value,
    success: (&str, Value),
    problems: &[&str],
) -> Value {
    let mut answers = answers(&Value::Null, problems);
    answers["200"] = json!({
        "description": "All of it; an answer that is cut off lacks the end of its body.",
        "content": {success.0: {"schema": success.1}},
    });
    json!({"get": {
        "tags": ["operations"], "operationId": operation, "summary": summary, "parameters": parameters,
        "responses": answers,
    }})
}
