//! Every query of the OpenAPI document: its parameters and what it answers.

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
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::answers;

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
        "resume": {"type": "string", "description": "Give it as from to go on, also at the end: what comes later is found there."},
    }})
}

const LIMIT: (&str, &str) = ("limit", "At most so many rows, 1 to 1000; more is taken for 1000.");
const LIMIT_OF_ORDERS: (&str, &str) = ("limit", "At most so many rows, 1 to 500; more is taken for 500.");
const LIMIT_OF_HITS: (&str, &str) = ("limit", "At most so many hits, 1 to 100; more is taken for 100.");
const CURSOR: (&str, &str) = ("cursor", "Where the last page ended.");
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
            LIMIT,
            CURSOR,
            MIN_POSITION,
        ],
        answer: |g| page::<VariantView>(g, "variants"),
    },
    Query {
        path: "/v1/sizes",
        tag: "master data",
        summary: "Sizes; of a category of goods, smallest first",
        parameters: &[("category", "The category of goods, such as shoes."), LIMIT, CURSOR, MIN_POSITION],
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
            LIMIT,
            CURSOR,
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
        parameters: &[("code", "The code."), LIMIT, CURSOR, MIN_POSITION],
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
        parameters: &[("type", "The code of the type."), LIMIT, CURSOR, MIN_POSITION],
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
            LIMIT,
            CURSOR,
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
            (
                "sort",
                "relevance (where there are no words, as without sort: by popularity), price or price_asc, price_desc, newest, popularity, discount.",
            ),
            ("facets", "Groups to count, or all."),
            LIMIT_OF_HITS,
            CURSOR,
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
            LIMIT_OF_ORDERS,
            CURSOR,
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
        summary: "Who did what, why, when; the latest first",
        parameters: &[
            ("actor", "The principal."),
            ("stream", "The stream, such as variant-42: what was done to one aggregate."),
            ("reason", "Why: the reason that was given, in either case; its first 100 characters count."),
            ("since", "RFC 3339."),
            ("until", "RFC 3339."),
            LIMIT,
            CURSOR,
            MIN_POSITION,
        ],
        answer: |g| page::<AuditEntry>(g, "entries"),
    },
    Query {
        path: "/v1/streams/{stream}",
        tag: "log",
        summary: "A stream's events",
        parameters: &[("from", "First revision, inclusive."), LIMIT, MIN_POSITION],
        answer: events,
    },
    Query {
        path: "/v1/events",
        tag: "log",
        summary: "The log: JSON pages, or server-sent events with Accept: text/event-stream",
        parameters: &[
            ("from", "The position after which to start; 0: all."),
            ("type", "Only these event types: repeatable, or several between commas."),
            ("stream", "Only this stream; repeatable, and with stream_prefix either."),
            ("stream_prefix", "Only streams that start so; repeatable. Also understood: prefix."),
            (
                "limit",
                "At most so many rows, 1 to 1000; more is taken for 1000. Of server-sent events: the stream ends after so many.",
            ),
            MIN_POSITION,
        ],
        answer: events,
    },
    Query {
        path: "/v1/projections",
        tag: "operations",
        summary: "Every projection: generation, checkpoint, lag, state",
        parameters: &[MIN_POSITION],
        answer: object,
    },
    Query {
        path: "/v1/operations/head",
        tag: "operations",
        summary: "The end of the log: its position and how many events there are",
        parameters: &[MIN_POSITION],
        answer: object,
    },
    Query {
        path: "/v1/state/{aggregate}/{id}",
        tag: "log",
        summary: "An aggregate as of a revision or a time, folded from its events",
        parameters: &[
            ("revision", "After this one, which must be there."),
            ("at", "After what was recorded until then (RFC 3339)."),
            MIN_POSITION,
        ],
        answer: object,
    },
];

/// The queries with what they take and answer; the shapes of answers go to the generator.
pub(super) fn paths(generator: &mut SchemaGenerator) -> Vec<(String, Value)> {
    QUERIES.iter().map(|query| query_path(query, generator)).collect()
}

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
    let mut problems = vec!["400", "401", "500", "503"];
    if !matches!(query.tag, "catalogue" | "master data" | "search" | "inventory") {
        // Not with a public key.
        problems.push("403");
    }
    if query.path.contains('{') {
        problems.push("404");
    }
    let operation = query.path.trim_start_matches("/v1/").replace(['/', '{', '}'], "_");
    let value = json!({"get": {
        "tags": [query.tag], "operationId": format!("get_{operation}"), "summary": query.summary,
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": query_answers(&(query.answer)(generator), &problems),
    }});
    (query.path.to_owned(), value)
}

fn query_answers(success: &Value, problems: &[&str]) -> Value {
    let mut answers = answers(success, problems);
    let position = json!({"description": "The log position that the answer is current to.", "schema": {"type": "string"}});
    for status in ["200", "404"] {
        if let Some(answer) = answers.get_mut(status) {
            answer["headers"] = json!({"Daybook-Position": position});
        }
    }
    answers
}
