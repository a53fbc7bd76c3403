//! Generated variants, and the numbers of SKUs.

use super::*;

fn colours(mode: &str, template: &str, values: &[&str]) -> Value {
    let values: Vec<Value> = values.iter().map(|value| json!({"value": value})).collect();
    json!({"name": "Tee", "brand": "Acme", "category": "Shirts", "mode": mode,
           "sku": {"strategy": "template", "template": template},
           "options": [{"type": "color", "values": values}]})
}

fn manual(product: &str, sku: &str) -> Value {
    let mut body = create(product);
    body["sku"] = json!({"strategy": "manual", "value": sku});
    body
}

fn made(events: &[String]) -> usize {
    events.iter().filter(|event| event.ends_with("variant.created")).count()
}

#[test]
fn a_value_that_the_template_cannot_fill_leaves_only_its_combination_out() {
    let mut world = World::given(&[]);
    let (template, values) = ("T-{color}", ["Navy", "赤", "Red"]);
    let Err(CommandError::Refused(refusal)) =
        world.when("product/tee/generate-variants", &colours("all_or_nothing", template, &values))
    else {
        panic!("accepted")
    };
    let subjects: Vec<_> = refusal.errors.iter().filter_map(|item| item.subject.clone()).collect();
    assert_eq!(subjects, ["color:赤"], "{refusal:?}");
    let each = colours("each", template, &values);
    let events = world.when("product/tee/generate-variants", &each).unwrap();
    assert_eq!(made(&events), 2, "{events:?}");
    assert_eq!(world.when("product/tee/generate-variants", &each).unwrap(), [""; 0], "a repeat");
}

#[test]
fn a_generated_variant_that_was_archived_is_made_anew() {
    let mut world = World::given(&[]);
    let body = colours("each", "T-{seq}", &["Navy"]);
    let variant = |events: &[String]| {
        let created = events.iter().find(|event| event.ends_with("variant.created")).unwrap();
        created.split(' ').next().unwrap().trim_start_matches("variant-").to_owned()
    };
    let mut ids = Vec::new();
    for _ in 0..3 {
        let events = world.when("product/tee/generate-variants", &body).unwrap();
        ids.push(variant(&events));
        assert_eq!(world.when("product/tee/generate-variants", &body).unwrap(), [""; 0], "a repeat");
        world.when(&format!("variant/{}/archive", ids[ids.len() - 1]), &json!({})).unwrap();
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
}

#[test]
fn a_sequence_gets_past_however_many_skus_were_taken_by_hand() {
    for taken in [1_u64, 7, 8, 9, 40, 1_100] {
        let mut world = World::given(&[]);
        for number in 1..=taken {
            world
                .when(
                    &format!("variant/v{number}/create"),
                    &manual(&format!("p{number}"), &format!("MK-{number}")),
                )
                .unwrap();
        }
        world.waits = 0;
        let mut body = create("p");
        body["sku"] = json!({"strategy": "template", "template": "MK-{seq}"});
        world.when("variant/v/create", &body).unwrap();
        let sku = world.sku("v");
        assert_eq!(sku, format!("MK-{}", taken + 1));
        assert!(world.waits < 40, "waited {} times", world.waits);
        let events =
            world.when("product/tee/generate-variants", &colours("each", "MK-{seq}", &["A", "B"])).unwrap();
        assert_eq!(made(&events), 2);
    }
}

#[test]
fn a_template_whose_every_sku_is_taken_says_so() {
    let mut world = World::given(&[]);
    for number in 1..=9 {
        world
            .when(
                &format!("variant/v{number}/create"),
                &manual(&format!("p{number}"), &format!("MK-{number}")),
            )
            .unwrap();
    }
    let mut body = create("p");
    body["sku"] = json!({"strategy": "template", "template": "MK-{seq}", "max_length": 4});
    assert_eq!(code(world.when("variant/v/create", &body)), "duplicate_sku");
}
