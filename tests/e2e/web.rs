//! The pages for people: served by this binary alone, under a policy that lets nothing else in.

use serde_json::json;

use crate::harness::Server;

const HOSTILE: &str = "<script>alert(1)</script> <img src=x onerror=alert(2)> lantern";

/// A header field of an answer.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

#[tokio::test]
async fn pages_come_under_a_strict_policy_and_refer_to_nothing_outside() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut waiting = vec!["/console".to_owned(), "/docs".to_owned()];
    let mut seen: Vec<String> = Vec::new();
    while let Some(path) = waiting.pop() {
        if seen.contains(&path) {
            continue;
        }
        let request = format!("GET {path} HTTP/1.1\r\nhost: daybook\r\nconnection: close\r\n\r\n");
        let answer = server.raw(request.as_bytes()).await;
        let (head, text) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        let policy = field(head, "content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        for weak in ["unsafe", "*", "http:", "https:", "data:"] {
            assert!(!policy.contains(weak), "{path}: {policy}");
        }
        assert_eq!(field(head, "x-content-type-options"), Some("nosniff"), "{path}");
        // The name of the SVG language is an address that nobody opens.
        let text = text.replace("http://www.w3.org/2000/svg", "");
        for outside in
            ["http://", "https://", "src=\"//", "href=\"//", "url(", "@import", "innerHTML", "eval("]
        {
            assert!(!text.contains(outside), "{path} has {outside}");
        }
        for inline in ["<style", " style=", " onclick=", " onload=", "<script>"] {
            assert!(!text.contains(inline), "{path} has {inline}");
        }
        let assets = text.split("\"/assets/").skip(1).map(|rest| rest.split('"').next().unwrap_or_default());
        let modules = text.split("from \"./").skip(1).map(|rest| rest.split('"').next().unwrap_or_default());
        waiting.extend(assets.chain(modules).map(|name| format!("/assets/{name}")));
        seen.push(path);
    }
    assert!(seen.iter().any(|path| path == "/assets/catalogue.js"), "{seen:?}");
    let mut client = server.connect().await;
    let missing = client.send("GET", "/assets/passwd", &[], &[]).await;
    assert_eq!((missing.status, missing.code().as_deref()), (404, Some("not_found")));
    server.stop();
}

/// What a merchandiser types must never run: it goes out as JSON, and where HTML is promised it is escaped.
#[tokio::test]
async fn a_hostile_name_stays_text() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    let created = client
        .command(
            "variant/hostile/create",
            json!({
                "product_id": "p", "name": HOSTILE, "brand": "Acme & <b>Sons</b>", "category": "Lamps", "attributes": [],
                "price": {"amount": "12.50", "currency": "GBP", "compare_at": "15.00"},
            }),
        )
        .await;
    let position = created["position"].as_str().unwrap();
    let path = format!("/v1/search?q=lantern&lifecycle=draft&min_position={position}");
    let hit = client.get(&path).await["hits"][0].clone();
    assert_eq!(hit["name"], HOSTILE);
    let price = json!({"amount": "12.50", "currency": "GBP", "compare_at": "15.00", "price_type": "regular"});
    assert_eq!(hit["price"], price, "flat, as in commands");
    assert_eq!(client.get("/v1/variants/hostile").await["price"], price, "and as in the catalogue");
    let marked = hit["highlights"]["name"].as_str().unwrap();
    assert!(marked.contains("&lt;script&gt;") && marked.contains("<em>lantern</em>"), "{marked}");
    assert!(!marked.contains("<script") && !marked.contains("<img"), "{marked}");
    server.stop();
}
