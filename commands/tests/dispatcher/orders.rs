//! Orders: placing, paying, calling off, returning, recording.

use std::sync::Arc;

use daybook_commands::{CommandError, Options};
use daybook_eventlog::memory::MemoryLog;
use serde_json::{Value, json};

use crate::support::faulty::FaultyLog;
use crate::support::{Shop, data, until};

fn order(customer: &str, lines: &[(&str, u32)]) -> Value {
    let lines: Vec<Value> = lines.iter().map(|(v, q)| json!({"variant_id": v, "quantity": q})).collect();
    json!({"customer_id": customer, "lines": lines, "payment_method": "card"})
}

async fn of_order(shop: &Shop, id: &str) -> Vec<String> {
    let events = shop.events().await;
    events.iter().filter(|e| e.stream() == format!("order-{id}")).map(|e| e.event_type().to_owned()).collect()
}

#[tokio::test]
async fn all_lines_are_reserved_together() {
    let shop = Shop::open().await;
    shop.stock("a", 5).await;
    shop.stock("b", 5).await;
    let before = shop.events().await.len();
    let reply = shop.ok("order/1/place", order("c", &[("a", 2), ("b", 1), ("a", 1)])).await;
    assert_eq!(reply.events.len(), 2);
    assert_eq!(reply.position as usize, shop.events().await.len());
    let mut history = shop.history().await.split_off(before);
    let claim = history.remove(2);
    assert!(claim.starts_with("claim-order_number-") && claim.ends_with(" claim.taken"), "{claim}");
    assert_eq!(
        history,
        [
            "inventory-a inventory.reserved",
            "inventory-b inventory.reserved",
            "order-1 order.placed",
            "order-1 order.reserved",
        ]
    );
    let events = shop.events().await;
    assert_eq!(data(&events[before])["quantity"], 3);
    assert_eq!(data(&events[before + 3])["total"]["amount"], "40.00");
    assert!(shop.ok("order/1/place", order("c", &[("a", 2), ("b", 1), ("a", 1)])).await.events.is_empty());
    assert_eq!(shop.no("order/1/place", order("c", &[("a", 2)])).await, "duplicate_order");
}

#[tokio::test]
async fn an_order_has_the_prices_of_its_buyer_and_only_what_is_sold_in_its_channel() {
    let shop = Shop::open().await;
    shop.stock("a", 100).await;
    shop.ok("variant/a/change-segmentation", json!({"channels": ["web", "app"], "regions": ["uk", "eu"]}))
        .await;
    for (amount, currency, channel, group) in
        [("9", "GBP", Some("web"), None), ("8", "GBP", Some("web"), Some("trade")), ("12", "EUR", None, None)]
    {
        let list = json!({"channel": channel, "customer_group": group});
        let price = json!({"amount": amount, "currency": currency});
        shop.ok("variant/a/change-price", json!({"price": price, "list": list, "reason": "r"})).await;
    }
    for (number, (buyer, total)) in [
        (json!({}), json!({"amount": "20.00", "currency": "GBP"})),
        (json!({"channel": "web", "region": "uk"}), json!({"amount": "18.00", "currency": "GBP"})),
        (json!({"channel": "web", "customer_group": "trade"}), json!({"amount": "16.00", "currency": "GBP"})),
        (json!({"channel": "app", "currency": "EUR"}), json!({"amount": "24.00", "currency": "EUR"})),
    ]
    .into_iter()
    .enumerate()
    {
        let mut place = order(&format!("c{number}"), &[("a", 2)]);
        place.as_object_mut().unwrap().extend(buyer.as_object().unwrap().clone());
        shop.ok(&format!("order/{number}/place"), place).await;
        let events = shop.events().await;
        let placed = events.iter().rfind(|event| event.event_type() == "order.placed").unwrap();
        assert_eq!(data(placed)["total"], total, "{buyer}");
    }
    for refused in [json!({"channel": "shop"}), json!({"region": "us"}), json!({"currency": "USD"})] {
        let mut place = order("x", &[("a", 2)]);
        place.as_object_mut().unwrap().extend(refused.as_object().unwrap().clone());
        assert_eq!(shop.no("order/x/place", place).await, "unprocessable", "{refused}");
    }
}

#[tokio::test]
async fn all_reasons_are_told_and_nothing_is_reserved() {
    let shop = Shop::open().await;
    shop.stock("a", 5).await;
    shop.stock("b", 1).await;
    let body = json!({"product_id": "d", "name": "D", "brand": "B", "category": "C"});
    shop.ok("variant/draft/create", body).await;
    let before = shop.events().await.len();
    let place = order("c", &[("a", 1), ("b", 2), ("draft", 1), ("missing", 1)]);
    let Err(CommandError::Refused(refusal)) = shop.send("order/1/place", place).await else {
        panic!("accepted")
    };
    assert_eq!(refusal.code, "unprocessable");
    let told: Vec<_> = refusal.errors.iter().map(|e| (e.code, e.subject.as_deref().unwrap())).collect();
    assert!(
        told.contains(&("insufficient_stock", "b")) && told.contains(&("not_found", "missing")),
        "{told:?}"
    );
    assert!(told.contains(&("unprocessable", "draft")), "{told:?}");
    assert_eq!(shop.no("order/1/place", order("c", &[("a", 3), ("a", 3)])).await, "insufficient_stock");
    assert_eq!(shop.no("order/1/place", order("c", &[("missing", 3)])).await, "not_found");
    assert_eq!(shop.no("order/1/place", order("c", &[])).await, "invalid_request");
    assert_eq!(shop.events().await.len(), before);
}

#[tokio::test]
async fn a_hold_from_the_cart_is_taken_over() {
    let shop = Shop::open().await;
    shop.stock("a", 3).await;
    shop.ok("inventory/a/reserve", json!({"customer_id": "c", "quantity": 2, "reservation_id": "cart"}))
        .await;
    let line = |quantity: u32| {
        json!({"customer_id": "c", "payment_method": "card",
               "lines": [{"variant_id": "a", "quantity": quantity, "reservation_id": "cart"}]})
    };
    assert_eq!(shop.no("order/1/place", line(4)).await, "insufficient_stock");
    let mut foreign = line(3);
    foreign["customer_id"] = json!("d");
    assert_eq!(shop.no("order/1/place", foreign).await, "reservation_conflict");
    shop.ok("order/1/place", line(3)).await;
    let history = shop.history().await;
    assert!(history.contains(&"inventory-a inventory.released".to_owned()));
    assert_eq!(shop.no("inventory/a/sell", json!({"quantity": 1})).await, "insufficient_stock");
}

#[tokio::test]
async fn an_order_that_names_a_hold_too_many_leaves_the_others_and_has_nothing_read_again() {
    let log = FaultyLog::new(MemoryLog::new());
    let shop = Shop::with(Arc::new(log.clone()), Options::default()).await;
    shop.stock("a", 3).await;
    shop.ok("inventory/a/reserve", json!({"customer_id": "c", "quantity": 2, "reservation_id": "cart"}))
        .await;
    let place = |id: &str| {
        json!({"customer_id": "c", "payment_method": "card", "lines": [
            {"variant_id": "a", "quantity": 1, "reservation_id": "cart"},
            {"variant_id": "a", "quantity": 1, "reservation_id": id},
        ]})
    };
    let history = shop.history().await;
    // The streams of the order and of its number are read once.
    assert_eq!(shop.no("order/1/place", place("missing")).await, "not_found");
    log.count_reads();
    for _ in 0..3 {
        assert_eq!(shop.no("order/1/place", place("missing")).await, "not_found");
    }
    assert_eq!(log.count_reads(), 0, "a stream was read again");
    assert_eq!(shop.history().await, history);
    let standing = json!({"customer_id": "c", "quantity": 2, "reservation_id": "cart"});
    assert!(shop.ok("inventory/a/reserve", standing).await.events.is_empty(), "the hold is gone");
    assert_eq!(shop.no("inventory/a/sell", json!({"quantity": 2})).await, "insufficient_stock");
    shop.ok("order/1/place", place("cart")).await;
    assert!(shop.history().await.contains(&"inventory-a inventory.released".to_owned()));
}

#[tokio::test]
async fn payment_turns_holds_into_sales() {
    let shop = Shop::open().await;
    shop.stock("a", 3).await;
    shop.ok("order/1/place", order("c", &[("a", 3)])).await;
    assert_eq!(
        shop.no("order/1/pay", json!({"amount": {"amount": "1.00", "currency": "GBP"}})).await,
        "unprocessable"
    );
    let paid = shop.ok("order/1/pay", json!({})).await;
    assert_eq!(paid.events.len(), 1);
    assert!(shop.ok("order/1/pay", json!({})).await.events.is_empty());
    shop.clock.advance_secs(1_000);
    assert!(shop.history().await.contains(&"inventory-a inventory.confirmed".to_owned()));
    shop.ok("order/1/ship", json!({})).await;
    shop.ok("order/1/deliver", json!({})).await;
    shop.ok("order/1/request-return", json!({"return_id": "r", "lines": [{"line_id": 1, "quantity": 2}]}))
        .await;
    shop.ok("order/1/receive-return", json!({"return_id": "r"})).await;
    shop.ok("order/1/refund", json!({"return_id": "r"})).await;
    shop.ok("inventory/a/sell", json!({"quantity": 2})).await;
    assert_eq!(shop.no("inventory/a/sell", json!({"quantity": 1})).await, "insufficient_stock");
}

#[tokio::test]
async fn what_is_not_named_comes_back_whole() {
    let shop = Shop::open().await;
    shop.stock("a", 3).await;
    shop.ok("order/1/place", order("c", &[("a", 3)])).await;
    for step in ["pay", "ship", "request-return"] {
        shop.ok(&format!("order/1/{step}"), json!({})).await;
    }
    assert_eq!(shop.no("inventory/a/sell", json!({"quantity": 1})).await, "insufficient_stock");
    for step in ["receive-return", "refund"] {
        shop.ok(&format!("order/1/{step}"), json!({})).await;
    }
    for (step, code) in [("receive-return", "invalid_transition"), ("refund", "invalid_request")] {
        assert_eq!(shop.no(&format!("order/1/{step}"), json!({})).await, code);
    }
    shop.ok("inventory/a/sell", json!({"quantity": 3})).await;
}

#[tokio::test]
async fn a_late_payment_takes_the_goods_anew_or_is_refunded() {
    let shop = Shop::open().await;
    shop.stock("a", 2).await;
    shop.stock("b", 2).await;
    shop.ok("order/lucky/place", order("c", &[("a", 1), ("b", 1)])).await;
    shop.ok("order/late/place", order("d", &[("a", 1), ("b", 1)])).await;
    shop.clock.advance_secs(60);
    until("the holds to run out", async || {
        shop.history().await.iter().filter(|line| line.ends_with("reservations_expired")).count() == 2
    })
    .await;
    assert_eq!(shop.ok("order/lucky/pay", json!({})).await.events.len(), 1);
    shop.ok("inventory/b/sell", json!({"quantity": 1})).await;
    assert_eq!(shop.ok("order/late/pay", json!({})).await.events.len(), 3);
    assert_eq!(
        of_order(&shop, "late").await,
        ["order.placed", "order.reserved", "order.paid", "order.cancelled", "order.refunded"]
    );
    shop.ok("inventory/a/sell", json!({"quantity": 1})).await;
    assert_eq!(shop.no("inventory/a/sell", json!({"quantity": 1})).await, "insufficient_stock");
}

#[tokio::test]
async fn what_is_called_off_goes_back() {
    let shop = Shop::open().await;
    shop.stock("a", 3).await;
    let sold_out = async || shop.no("inventory/a/sell", json!({"quantity": 1})).await == "insufficient_stock";
    shop.ok("order/1/place", order("c", &[("a", 3)])).await;
    assert!(sold_out().await);
    shop.ok("order/1/cancel", json!({})).await;
    shop.ok("order/2/place", order("c", &[("a", 3)])).await;
    shop.ok("order/2/fail-payment", json!({"reason": "card refused"})).await;
    shop.ok("order/3/place", order("c", &[("a", 3)])).await;
    shop.ok("order/3/pay", json!({})).await;
    assert!(sold_out().await);
    shop.ok("order/3/cancel", json!({})).await;
    shop.ok("order/3/refund", json!({})).await;
    shop.ok("inventory/a/sell", json!({"quantity": 3})).await;
}

#[tokio::test]
async fn a_customer_has_five_unpaid_orders_at_most() {
    let shop = Shop::open().await;
    shop.stock("a", 100).await;
    for n in 0..5 {
        shop.ok(&format!("order/{n}/place"), order("c", &[("a", 1)])).await;
    }
    assert_eq!(shop.no("order/5/place", order("c", &[("a", 1)])).await, "too_many_reservations");
    shop.ok("inventory/a/reserve", json!({"customer_id": "c", "quantity": 1})).await;
    shop.ok("order/0/pay", json!({})).await;
    let shop = shop.restarted(Options::default()).await;
    shop.ok("order/5/place", order("c", &[("a", 1)])).await;
    assert_eq!(shop.no("order/6/place", order("c", &[("a", 1)])).await, "too_many_reservations");
    shop.clock.advance_secs(60);
    shop.ok("order/6/place", order("c", &[("a", 1)])).await;
}

#[tokio::test]
async fn an_order_of_the_past_is_one_append() {
    let shop = Shop::open().await;
    shop.stock("a", 3).await;
    shop.variant("post", "1.00").await;
    let before = shop.events().await.len();
    let record = json!({
        "customer_id": "c", "payment_method": "invoice", "placed_at": "2011-11-04T10:00:00Z",
        "shipping_address": {"country": "United Kingdom"},
        "lines": [
            {"variant_id": "a", "quantity": 2, "unit_price": {"amount": "0.425", "currency": "GBP"}, "name": "OLD NAME"},
            {"variant_id": "post", "quantity": 1, "stocked": false},
        ],
    });
    let reply = shop.ok("order/536365/record", record.clone()).await;
    let types: Vec<_> = reply.events.iter().map(|e| e.event_type).collect();
    assert_eq!(types, ["order.placed", "order.reserved", "order.paid", "order.shipped", "order.delivered"]);
    assert_eq!(
        shop.history().await[before + 1..before + 3],
        ["inventory-a inventory.reserved", "inventory-a inventory.confirmed"]
    );
    let placed = data(&shop.events().await[before + 3]);
    assert_eq!(placed["total"]["amount"], "1.85");
    assert_eq!(placed["lines"][0]["name"], "OLD NAME");
    assert!(shop.ok("order/536365/record", record.clone()).await.events.is_empty());
    assert_eq!(shop.no("order/2/record", record.clone()).await, "insufficient_stock");
    let mut request = crate::support::request("order/3/record", &record);
    request.principal.roles = daybook_aggregates::Roles::of([daybook_aggregates::Role::Storefront]);
    assert_eq!(crate::support::code(shop.dispatcher.dispatch(request).await), "forbidden");
}

#[tokio::test]
async fn commands_sent_in_a_row_see_each_other() {
    let shop = Shop::open().await;
    let create = json!({"product_id": "p", "name": "P", "brand": "B", "category": "C",
                        "price": {"amount": "2.00", "currency": "GBP"}});
    let answers = [
        shop.send("variant/p/create", create),
        shop.send("variant/p/submit", json!({})),
        shop.send("variant/p/activate", json!({})),
        shop.send("inventory/p/receive", json!({"quantity": 5})),
        shop.send("order/1/place", order("c", &[("p", 5)])),
        shop.send("order/1/pay", json!({})),
        shop.send("order/1/ship", json!({})),
    ];
    for answer in answers {
        answer.await.unwrap();
    }
}

/// Two gateways that have not heard of each other, and callers of one: one order gets the number.
#[tokio::test]
async fn of_many_at_once_one_order_gets_the_number() {
    for single_stream in [false, true] {
        let log = FaultyLog::new(MemoryLog::new());
        let log = if single_stream { log.single_stream() } else { log };
        let options = Options { shared_log: true, ..Options::default() };
        let a = Shop::with(Arc::new(log.clone()), options.clone()).await;
        a.stock("v", 1_000).await;
        let b = Shop::with(Arc::new(log.clone()), options).await;
        log.silence(true);
        let place = |shop: &Shop, id: String, number: Option<&str>| {
            let line = json!([{"variant_id": "v", "quantity": 1}]);
            let body = json!({"payment_method": "card", "order_number": number, "lines": line});
            shop.send(&format!("order/{id}/place"), body)
        };
        let mut answers = Vec::new();
        for caller in 0..8 {
            answers.push(place(&a, format!("a{caller}"), Some("R")));
            answers.push(place(&b, format!("b{caller}"), Some("R")));
        }
        answers.push(place(&b, "R".to_owned(), None));
        let mut placed = 0;
        for answer in answers {
            match answer.await {
                Ok(_) => placed += 1,
                Err(error) => assert_eq!(error.code(), "duplicate_order_number", "{error:?}"),
            }
        }
        assert_eq!(placed, 1, "single stream: {single_stream}");
        log.silence(false);
    }
}
