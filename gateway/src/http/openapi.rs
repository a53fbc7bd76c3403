//! The OpenAPI 3.1 document: every command with its body's schema (generated from the types that parse it) and every query.

mod operations;
mod queries;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use daybook_aggregates::{CommandSpec, lifecycle};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::App;

/// `GET /openapi.json`.
pub(super) async fn document(State(app): State<App>) -> Response {
    ([("content-type", "application/json")], app.openapi.clone()).into_response()
}

/// Builds the document; done once at start.
#[must_use]
pub(super) fn build() -> Value {
    let mut components = Map::new();
    let mut paths = Map::new();
    for (aggregate, spec) in daybook_commands::specs().into_iter().filter(|(_, spec)| !spec.internal) {
        let name = format!("{aggregate}_{}", spec.name.replace('-', "_"));
        let schema = hoist((spec.schema)().to_value(), &mut components);
        components.insert(name.clone(), schema);
        paths.insert(
            format!("/v1/commands/{aggregate}/{{id}}/{}", spec.name),
            command_path(aggregate, &spec, &name),
        );
    }
    paths.extend(batch_path());
    paths.extend(operations::paths());
    let in_components =
        |settings: &mut SchemaSettings| settings.definitions_path = "/components/schemas".into();
    let mut generator = SchemaSettings::draft2020_12().with(in_components).into_generator();
    paths.extend(queries::paths(&mut generator));
    components.extend(generator.take_definitions(true));
    components.insert("Problem".to_owned(), problem_schema());
    components.insert("Reply".to_owned(), reply_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Daybook", "version": env!("CARGO_PKG_VERSION"), "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Event-sourced commerce: commands become immutable events in the log, read models follow it. Every reply to a command carries the log position; pass it as min_position to a query to read your own write.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"api_key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"api_key": []}, {}],
        "x-lifecycles": lifecycle::sheets(),
    })
}

/// Moves a schema's `$defs` to the components, where all commands share them.
fn hoist(mut schema: Value, components: &mut Map<String, Value>) -> Value {
    rewrite(&mut schema);
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
        if let Some(Value::Object(definitions)) = object.remove("$defs") {
            components.extend(definitions);
        }
    }
    schema
}

fn rewrite(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("#/components/schemas/{name}");
            }
            fields.values_mut().for_each(rewrite);
        }
        Value::Array(items) => items.iter_mut().for_each(rewrite),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What the lifecycle table of the aggregate says about a command.
fn governance(aggregate: &str, command: &str) -> Value {
    let Some(sheet) = lifecycle::sheets().into_iter().find(|sheet| sheet.aggregate == aggregate) else {
        return Value::Null;
    };
    if command == "create" {
        return json!({"initial": sheet.initial, "roles": sheet.creators});
    }
    let steps: Vec<_> = sheet.transitions.iter().filter(|row| row.command == command).collect();
    match sheet.edits.iter().find(|edit| edit.command == command) {
        Some(edit) => json!(edit),
        None if steps.is_empty() => Value::Null,
        None => json!({"transitions": steps}),
    }
}

fn command_path(aggregate: &str, spec: &CommandSpec, schema: &str) -> Value {
    json!({"post": {
        "x-lifecycle": governance(aggregate, spec.name),
        "tags": [format!("{aggregate} commands")],
        "operationId": schema,
        "summary": spec.summary,
        "parameters": [
            {"name": "id", "in": "path", "required": true, "description": "Id of the aggregate.", "schema": {"type": "string", "pattern": "^[A-Za-z0-9._~-]{1,64}$"}},
            {"name": "Idempotency-Key", "in": "header", "description": "Same key and body: what was carried out is answered again and never done twice, also after a restart. Refusals are remembered for a while and not beyond a restart: then the command is decided anew. A 412 is no outcome. Same key, other body: 422.", "schema": {"type": "string", "maxLength": 255}},
            {"name": "If-Match", "in": "header", "description": "The stream's revision that the client has seen, in quotes; several, of which one is right; or *: that there is one. Else: 412.", "schema": {"type": "string"}},
        ],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/{schema}")}}}},
        "responses": command_answers(),
    }})
}

fn command_answers() -> Value {
    let reply = json!({"$ref": "#/components/schemas/Reply"});
    let problems =
        ["400", "401", "403", "404", "408", "409", "412", "413", "422", "423", "429", "500", "503"];
    let mut answers = answers(&reply, &problems);
    for (status, description) in
        [("200", "Done, or nothing to change."), ("201", "Done: the first events of the stream.")]
    {
        answers[status] = json!({
            "description": description,
            "headers": {"ETag": {"description": "The stream's revision, in quotes.", "schema": {"type": "string"}}},
            "content": {"application/json": {"schema": reply}},
        });
    }
    answers
}

fn batch_path() -> Map<String, Value> {
    let mut paths = Map::new();
    paths.insert(
        "/v1/commands".to_owned(),
        json!({"post": {
            "tags": ["batch"], "operationId": "commands", "summary": "Many commands, one a line",
            "description": "NDJSON in, NDJSON out: {aggregate, id, command, data, key?} a line; one result line for each, in order, with its status. A line that fails does not stop the others.",
            "requestBody": {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}},
            "responses": batch_answers(),
        }}),
    );
    paths
}

fn batch_answers() -> Value {
    // What is wrong with a line stands in its result.
    let mut answers = answers(&Value::Null, &["401"]);
    answers["200"] = json!({"description": "One result a line.", "content": {"application/x-ndjson": {"schema": {"type": "string"}}}});
    answers
}

fn answers(success: &Value, problems: &[&str]) -> Value {
    let mut answers = Map::new();
    answers.insert(
        "200".to_owned(),
        json!({"description": "Done.", "content": {"application/json": {"schema": success}}}),
    );
    for status in problems {
        answers.insert(
            (*status).to_owned(),
            json!({"description": describe(status), "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}),
        );
    }
    Value::Object(answers)
}

fn describe(status: &str) -> &'static str {
    match status {
        "400" => "invalid_request: the request has not the right form.",
        "401" => "unauthenticated: an API key is needed.",
        "403" => "forbidden: the principal lacks a role, or its key is public.",
        "404" => "not_found.",
        "409" => {
            "The state does not allow it: insufficient_stock, duplicate_configuration, duplicate_sku, invalid_transition, reservation_expired, too_many_reservations …"
        }
        "408" => "request_timeout: the body did not come.",
        "412" => "stale_revision: the stream is not where If-Match says that it must be.",
        "413" => "payload_too_large.",
        "422" => "unprocessable: well formed, but it makes no sense here.",
        "423" => "locked: a governance lock covers it.",
        "429" => "rate_limited: see Retry-After.",
        "500" => "internal: quote the trace id.",
        _ => "overloaded or behind: see Retry-After.",
    }
}

fn problem_schema() -> Value {
    json!({
        "type": "object", "description": "RFC 9457",
        "required": ["type", "title", "status", "detail", "code", "trace_id"],
        "properties": {
            "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
            "detail": {"type": "string"}, "code": {"type": "string", "description": "Stable."}, "trace_id": {"type": "string"},
            "errors": {"type": "array", "items": {"type": "object", "properties": {"code": {"type": "string"}, "detail": {"type": "string"}, "subject": {"type": "string"}}}},
        },
    })
}

fn reply_schema() -> Value {
    json!({
        "type": "object", "required": ["stream", "revision", "position", "events"],
        "properties": {
            "stream": {"type": "string"}, "revision": {"type": "integer"},
            "position": {"type": "string", "description": "Log position; pass it as min_position to read your write."},
            "events": {"type": "array", "items": {"type": "object", "properties": {"type": {"type": "string"}, "version": {"type": "integer"}, "data": {"type": "object"}}}},
            "reservation_id": {"type": "string", "description": "Of a repeated reservation that names no id: the hold that stands. Only for roles that speak for the shop."},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands and answers share the components: one name must not stand for two shapes.
    #[test]
    fn a_name_stands_for_one_shape() {
        let mut seen: Map<String, Value> = Map::new();
        let mut add = |name: String, schema: Value| {
            if let Some(other) = seen.insert(name.clone(), schema.clone()) {
                assert_eq!(other, schema, "two shapes are named {name}");
            }
        };
        for (_, spec) in daybook_commands::specs() {
            let mut components = Map::new();
            hoist((spec.schema)().to_value(), &mut components);
            components.into_iter().for_each(|(name, schema)| add(name, schema));
        }
        for (name, schema) in build()["components"]["schemas"].as_object().unwrap() {
            add(name.clone(), schema.clone());
        }
    }

    #[test]
    fn answers_are_those_that_are_given() {
        let document = build();
        let answers = |path: &str, method: &str| {
            let answers = document["paths"][path][method]["responses"].as_object().unwrap();
            let mut statuses: Vec<String> = answers.keys().cloned().collect();
            statuses.sort_unstable();
            statuses
        };
        let place = answers("/v1/commands/order/{id}/place", "post");
        assert!(
            ["200", "201", "401", "403"].iter().all(|status| place.iter().any(|s| s == status)),
            "{place:?}"
        );
        assert_eq!(answers("/v1/commands", "post"), ["200", "401"]);
        assert_eq!(answers("/v1/variants/{id}", "get"), ["200", "400", "401", "404", "500", "503"]);
        assert_eq!(answers("/v1/search", "get"), ["200", "400", "401", "500", "503"]);
        assert_eq!(answers("/v1/orders", "get"), ["200", "400", "401", "403", "500", "503"]);
        assert_eq!(
            answers("/v1/state/{aggregate}/{id}", "get"),
            ["200", "400", "401", "403", "404", "500", "503"]
        );
    }

    #[test]
    fn a_price_has_one_flat_shape_in_every_answer() {
        let document = build();
        let schemas = &document["components"]["schemas"];
        for view in ["SearchHit", "VariantView", "VariantDetails"] {
            let price = schemas[view]["properties"]["price"].to_string();
            assert!(price.contains("/PriceView\""), "{view}: {price}");
        }
        assert_eq!(schemas["PriceView"]["properties"]["amount"]["type"], "string");
    }
}
