//! The OpenAPI 3.1 document: every command with its body's schema (generated from the types that parse it) and every query.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use daybook_aggregates::{CommandSpec, lifecycle};
use daybook_projections::audit::query::AuditEntry;
use daybook_projections::catalogue::VariantView;
use daybook_projections::catalogue::query::{EffectivePrice, VariantDetails, VariantPrices};
use daybook_projections::customers::query::CustomerReport;
use daybook_projections::inventory::query::InventorySummary;
use daybook_projections::masters::{
    AttributeTypeView, AttributeValueView, CategoryView, ColorView, SizeView,
};
use daybook_projections::orders::OrderView;
use daybook_projections::products::query::ProductReport;
use daybook_projections::sales::query::SalesReport;
use daybook_projections::search::SearchResponse;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
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
    let in_components =
        |settings: &mut SchemaSettings| settings.definitions_path = "/components/schemas".into();
    let mut generator = SchemaSettings::draft2020_12().with(in_components).into_generator();
    paths.extend(QUERIES.iter().map(|query| query_path(query, &mut generator)));
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
            {"name": "Idempotency-Key", "in": "header", "description": "Same key and body: the same outcome, once, also after a restart. Same key, other body: 422.", "schema": {"type": "string", "maxLength": 255}},
            {"name": "If-Match", "in": "header", "description": "The stream's revision that the client has seen, in quotes; another one: 412.", "schema": {"type": "string"}},
        ],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/{schema}")}}}},
        "responses": answers(&json!({"$ref": "#/components/schemas/Reply"}), &["400", "401", "403", "404", "409", "412", "422", "423", "429", "503"]),
    }})
}

fn batch_path() -> Map<String, Value> {
    let mut paths = Map::new();
    paths.insert(
        "/v1/commands".to_owned(),
        json!({"post": {
            "tags": ["batch"], "operationId": "commands", "summary": "Many commands, one a line",
            "description": "NDJSON in, NDJSON out: {aggregate, id, command, data, key?} a line; one result line for each, in order, with its status. A line that fails does not stop the others.",
            "requestBody": {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}},
            "responses": {"200": {"description": "One result a line.", "content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
        }}),
    );
    paths
}

/// A query route: path, summary, parameters with their descriptions, and what it answers.
struct Query {
    path: &'static str,
    tag: &'static str,
    summary: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    answer: fn(&mut SchemaGenerator) -> Value,
}

/// Answers with one `T`.
fn one<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// Answers with a page of `T` and where the next one starts.
fn page<T: JsonSchema>(generator: &mut SchemaGenerator, of: &str) -> Value {
    json!({"type": "object", "required": [of], "properties": {
        of: {"type": "array", "items": one::<T>(generator)},
        "cursor": {"type": "string", "description": "Where the next page starts; absent on the last."},
    }})
}

fn object(_: &mut SchemaGenerator) -> Value {
    json!({"type": "object"})
}

/// Events as the log gives them.
fn events(_: &mut SchemaGenerator) -> Value {
    let text = || json!({"type": "string"});
    let event = json!({"type": "object", "properties": {
        "event_id": text(), "stream": text(), "revision": {"type": "integer"}, "position": text(), "type": text(),
        "version": {"type": "integer"}, "recorded_at": {"type": "string", "format": "date-time"},
        "data": {"type": "object"}, "metadata": {"type": "object"},
    }});
    json!({"type": "object", "required": ["events"], "properties": {
        "events": {"type": "array", "items": event},
        "next": {"type": "string", "description": "Give it as from for the next page; absent at the end."},
    }})
}

const PAGE: [(&str, &str); 2] =
    [("limit", "At most so many rows."), ("cursor", "Where the last page ended.")];
const MIN_POSITION: (&str, &str) = (
    "min_position",
    "Wait until the read model has this log position, at most 2 s; else 503 projection_behind.",
);
const CURRENCY: (&str, &str) =
    ("currency", "Figures in this currency; by default the configured one, else that of most orders.");

const BUYER: [(&str, &str); 4] = [
    ("currency", "In which the buyer pays; that of the variant's own price unless given."),
    ("channel", "Where the buyer buys: its price lists count."),
    ("customer_group", "Which the buyer belongs to: its price lists count."),
    ("as_of", "The time (RFC 3339); now unless given."),
];

const QUERIES: &[Query] = &[
    Query {
        path: "/v1/variants/{id}",
        tag: "catalogue",
        summary: "A variant; with what a buyer pays, if it is said who buys or as of when",
        parameters: &[BUYER[0], BUYER[1], BUYER[2], BUYER[3], MIN_POSITION],
        answer: one::<VariantDetails>,
    },
    Query {
        path: "/v1/variants/{id}/price",
        tag: "catalogue",
        summary: "The price that a buyer gets as of a time, past or to come",
        parameters: &[BUYER[0], BUYER[1], BUYER[2], BUYER[3], MIN_POSITION],
        answer: one::<EffectivePrice>,
    },
    Query {
        path: "/v1/variants/{id}/prices",
        tag: "catalogue",
        summary: "A variant's own prices and those of its lists: standing, past and scheduled",
        parameters: &[MIN_POSITION],
        answer: one::<VariantPrices>,
    },
    Query {
        path: "/v1/variants",
        tag: "catalogue",
        summary: "Variants by one key",
        parameters: &[
            ("sku", "The SKU."),
            ("config_hash", "The configuration hash."),
            ("product_group", "The product group."),
            PAGE[0],
            PAGE[1],
            MIN_POSITION,
        ],
        answer: |g| page::<VariantView>(g, "variants"),
    },
    Query {
        path: "/v1/sizes",
        tag: "master data",
        summary: "Sizes; of a category of goods, smallest first",
        parameters: &[("category", "The category of goods, such as shoes."), PAGE[0], PAGE[1], MIN_POSITION],
        answer: |g| page::<SizeView>(g, "items"),
    },
    Query {
        path: "/v1/sizes/{id}",
        tag: "master data",
        summary: "A size",
        parameters: &[MIN_POSITION],
        answer: one::<SizeView>,
    },
    Query {
        path: "/v1/colors",
        tag: "master data",
        summary: "Colours",
        parameters: &[
            ("family", "The broad colour."),
            ("slug", "The slug; a previous one leads to its colour too."),
            PAGE[0],
            PAGE[1],
            MIN_POSITION,
        ],
        answer: |g| page::<ColorView>(g, "items"),
    },
    Query {
        path: "/v1/colors/{id}",
        tag: "master data",
        summary: "A colour",
        parameters: &[MIN_POSITION],
        answer: one::<ColorView>,
    },
    Query {
        path: "/v1/attribute-types",
        tag: "master data",
        summary: "Attribute types",
        parameters: &[("code", "The code."), PAGE[0], PAGE[1], MIN_POSITION],
        answer: |g| page::<AttributeTypeView>(g, "items"),
    },
    Query {
        path: "/v1/attribute-types/{id}",
        tag: "master data",
        summary: "An attribute type",
        parameters: &[MIN_POSITION],
        answer: one::<AttributeTypeView>,
    },
    Query {
        path: "/v1/attribute-values",
        tag: "master data",
        summary: "Attribute values",
        parameters: &[("type", "The code of the type."), PAGE[0], PAGE[1], MIN_POSITION],
        answer: |g| page::<AttributeValueView>(g, "items"),
    },
    Query {
        path: "/v1/attribute-values/{id}",
        tag: "master data",
        summary: "An attribute value",
        parameters: &[MIN_POSITION],
        answer: one::<AttributeValueView>,
    },
    Query {
        path: "/v1/categories",
        tag: "master data",
        summary: "Categories",
        parameters: &[
            ("parent", "Right below this category."),
            ("below", "Everything below this path, such as apparel/shirts."),
            ("slug", "The slug; a previous one leads to its category too."),
            PAGE[0],
            PAGE[1],
            MIN_POSITION,
        ],
        answer: |g| page::<CategoryView>(g, "items"),
    },
    Query {
        path: "/v1/categories/{id}",
        tag: "master data",
        summary: "A category",
        parameters: &[MIN_POSITION],
        answer: one::<CategoryView>,
    },
    Query {
        path: "/v1/search",
        tag: "search",
        summary: "Full text, filters and facets",
        parameters: &[
            ("q", "Words; the last may be a prefix."),
            ("category", "Repeatable: any of."),
            ("brand", "Repeatable: any of."),
            ("attr.color", "Any attribute type as attr.TYPE; repeatable: any of."),
            ("price_min", "Decimal."),
            ("price_max", "Decimal."),
            ("currency", "Only prices in this currency."),
            ("in_stock", "true or false."),
            ("lifecycle", "Default: what can be bought."),
            ("channel", "Only what is sold there."),
            ("region", "Only what is sold there."),
            ("sort", "relevance, price_asc, price_desc, newest, popularity, discount"),
            ("facets", "Groups to count, or all."),
            PAGE[0],
            PAGE[1],
            MIN_POSITION,
        ],
        answer: one::<SearchResponse>,
    },
    Query {
        path: "/v1/inventory/{variant_id}",
        tag: "inventory",
        summary: "The stock of a variant",
        parameters: &[MIN_POSITION],
        answer: one::<InventorySummary>,
    },
    Query {
        path: "/v1/orders/{id}",
        tag: "orders",
        summary: "An order",
        parameters: &[MIN_POSITION],
        answer: one::<OrderView>,
    },
    Query {
        path: "/v1/orders",
        tag: "orders",
        summary: "Orders by customer or status, newest first",
        parameters: &[
            ("customer_id", "The customer."),
            ("status", "The status."),
            ("number", "The order number."),
            PAGE[0],
            PAGE[1],
            MIN_POSITION,
        ],
        answer: |g| page::<OrderView>(g, "orders"),
    },
    Query {
        path: "/v1/analytics/sales",
        tag: "analytics",
        summary: "Sales of a period",
        parameters: &[("period", "all, 2011, 2011-11 or 2011-11-04 (UTC)."), CURRENCY, MIN_POSITION],
        answer: one::<SalesReport>,
    },
    Query {
        path: "/v1/analytics/products/{variant_id}",
        tag: "analytics",
        summary: "A product's sales in a period",
        parameters: &[("period", "all, 2011, 2011-11 or 2011-11-04 (UTC)."), CURRENCY, MIN_POSITION],
        answer: one::<ProductReport>,
    },
    Query {
        path: "/v1/analytics/customers/{id}",
        tag: "analytics",
        summary: "A customer's lifetime figures",
        parameters: &[CURRENCY, MIN_POSITION],
        answer: one::<CustomerReport>,
    },
    Query {
        path: "/v1/audit",
        tag: "log",
        summary: "Who did what, when",
        parameters: &[
            ("actor", "The principal."),
            ("stream", "The stream."),
            ("since", "RFC 3339."),
            ("until", "RFC 3339."),
            PAGE[0],
            PAGE[1],
            MIN_POSITION,
        ],
        answer: |g| page::<AuditEntry>(g, "entries"),
    },
    Query {
        path: "/v1/streams/{stream}",
        tag: "log",
        summary: "A stream's events",
        parameters: &[("from", "First revision, inclusive."), PAGE[0]],
        answer: events,
    },
    Query {
        path: "/v1/events",
        tag: "log",
        summary: "The log: JSON pages, or server-sent events with Accept: text/event-stream",
        parameters: &[
            ("from", "The position after which to start; 0: all."),
            ("type", "Only this event type; repeatable."),
            ("stream_prefix", "Only streams that start so; repeatable."),
            PAGE[0],
        ],
        answer: events,
    },
    Query {
        path: "/v1/projections",
        tag: "operations",
        summary: "Every projection: generation, checkpoint, lag, state",
        parameters: &[],
        answer: object,
    },
];

fn query_path(query: &Query, generator: &mut SchemaGenerator) -> (String, Value) {
    let in_path = query
        .path
        .split(['{', '}'])
        .skip(1)
        .step_by(2)
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    let in_query = query.parameters.iter().map(|(name, description)| {
        json!({"name": name, "in": "query", "description": description, "schema": {"type": "string"}})
    });
    let operation = query.path.trim_start_matches("/v1/").replace(['/', '{', '}'], "_");
    let value = json!({"get": {
        "tags": [query.tag], "operationId": format!("get_{operation}"), "summary": query.summary,
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": answers(&(query.answer)(generator), &["400", "401", "404", "503"]),
    }});
    (query.path.to_owned(), value)
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
        "403" => "forbidden: the principal lacks a role.",
        "404" => "not_found.",
        "409" => {
            "The state does not allow it: insufficient_stock, duplicate_configuration, duplicate_sku, invalid_transition, reservation_expired, too_many_reservations …"
        }
        "412" => "stale_revision: the stream is not at the revision in If-Match.",
        "422" => "unprocessable: well formed, but it makes no sense here.",
        "423" => "locked: a governance lock covers it.",
        "429" => "rate_limited: see Retry-After.",
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
