//! Which route takes a request: by listener, by host, by path, the first in the file; and no other way round it.
#![cfg(feature = "runtime")]

mod support;

use support::backend::Stage;
use support::http::{upgrade_request, upgrade_request_to};
use support::loopback;
use support::path::Directory;
use support::proxy::Proxy;
use support::raw::Raw;

/// Sends a request on a connection of its own: the status and the body of the answer.
fn ask(address: &str, request: &[u8]) -> (u16, String) {
    let mut client = Raw::connect(address);
    client.send(request);
    let (head, body) = client.response();
    (head.status(), String::from_utf8(body).expect("text"))
}

/// Routes that say their names.
fn routes(routes: &[(&str, &str)]) -> String {
    let route = |(name, matcher): &(&str, &str)| {
        format!("[route.{name}]\n{matcher}\nrespond = {{ body = \"{name}\" }}\n")
    };
    routes.iter().map(route).collect()
}

#[test]
fn the_first_route_for_listener_host_and_path_takes_a_request() {
    let listeners =
        format!("[listen.public]\naddr = \"{0}:0\"\n[listen.inside]\naddr = \"{0}:0\"\n", loopback());
    let routes = routes(&[
        ("metrics", "listen = [\"inside\"]\npath = \"/metrics/*\""),
        ("room", "host = \"chat.example.com\"\npath = \"/ws\""),
        ("rooms", "host = \"chat.example.com\"\npath = \"/ws/*\""),
        ("tenants", "host = \"*.example.com\"\npath = \"/ws/*\""),
        ("address", "host = \"127.0.0.1\"\npath = \"/ws\""),
        ("twice", "path = \"/twice/*\""),
        ("never", "path = \"/twice/again\""),
    ]);
    let mut proxy = Proxy::from_toml_on_one_core(&(listeners + &routes));
    let (public, inside) = (proxy.address.clone(), proxy.next_address());
    assert_ne!(public, inside);
    let rows = [
        (&public, "chat.example.com", "/ws", "room"),
        (&public, "chat.example.com", "/ws?room=/metrics/", "room"),
        (&public, "chat.example.com:8765", "/ws", "room"),
        (&public, "Chat.EXAMPLE.com", "/ws", "room"),
        (&public, "chat.example.com.", "/ws", "room"),
        (&public, "chat.example.com", "/ws/", "rooms"),
        (&public, "chat.example.com", "/ws/7/x", "rooms"),
        (&public, "chat.example.com", "http://chat.example.com/ws", "room"),
        (&public, "one.example.com", "/ws/7", "tenants"),
        (&public, "a.b.example.com", "/ws/", "tenants"),
        (&public, "127.0.0.1:80", "/ws", "address"),
        (&public, "anything", "/twice/again", "twice"),
        (&inside, "anything", "/metrics/cpu", "metrics"),
        (&inside, "chat.example.com", "/ws", "room"),
    ];
    for (listener, host, target, name) in rows {
        let answer = ask(listener, &upgrade_request_to(host, target, &[]));
        assert_eq!(answer, (200, name.to_owned()), "{host} {target}");
        assert_eq!(proxy.line("request answered").get("route"), name);
    }
    let nowhere = [
        (&public, "anything", "/metrics/cpu"),
        (&public, "chat.example.com", "/"),
        (&public, "chat.example.com", "/wsx"),
        (&public, "chat.example.com", "/WS"),
        (&public, "one.example.com", "/ws"),
        (&public, "example.com", "/ws/7"),
        (&public, "notexample.com", "/ws/7"),
        (&public, "one.example.com.evil.example", "/ws/7"),
        (&public, "127.0.0.1.example", "/ws"),
    ];
    for (listener, host, target) in nowhere {
        let (status, body) = ask(listener, &upgrade_request_to(host, target, &[]));
        assert_eq!(status, 404, "{host} {target}: {body}");
        let line = proxy.line("request refused");
        assert_eq!((line.number("status"), line.get("reason").as_str()), (404, "no_route"));
        assert!(!line.has("route") && line.get("path") == target, "{line:?}");
    }
}

#[test]
fn another_spelling_of_a_guarded_path_is_guarded_as_well() {
    let directory = Directory::new("spelling");
    std::fs::write(directory.file("keys"), "one:0123456789abcdef\n").expect("it is ours");
    let backend = Stage::new();
    let proxy = Proxy::from_toml_on_one_core(&format!(
        "[listen.public]\naddr = \"{}:0\"\n\
         [route.private]\npath = \"/private/*\"\npool = \"app\"\n\
         auth = {{ kind = \"key\", keys_file = \"{}\" }}\n\
         [route.public]\npool = \"app\"\n[pool.app]\nbackends = [\"{}\"]\n",
        loopback(),
        directory.argument("keys"),
        backend.url()
    ));
    let spellings = [
        "/private/x",
        "/%70rivate/x",
        "/%70%72%69%76%61%74%65/x",
        "//private/x",
        "/private//x",
        "/./private/x",
        "/public/../private/x",
        "/public/%2e%2e/private/x",
        "/public/%2E%2E/private/x",
        "/../private/x",
        "/private%2Fx",
        "/private/.",
        "http://chat.example/private/x",
        "http://chat.example//private/x",
        "/private/x?/public",
    ];
    for target in spellings {
        let (status, body) = ask(&proxy.address, &upgrade_request(target, &[]));
        assert_eq!(status, 401, "{target}: {body}");
    }
    // These are other paths, to us and to servers alike; and the first request that the backend hears of is this one.
    for target in ["/privatex", "/private/../public", "/Private/x"] {
        let mut client = proxy.dial();
        client.send(&upgrade_request(target, &[]));
        assert_eq!(backend.request().1.target(), target);
    }
}

#[test]
fn a_path_that_climbs_out_of_its_route_is_not_in_it() {
    let backend = Stage::new();
    let proxy = Proxy::from_toml_on_one_core(&format!(
        "[listen.public]\naddr = \"{}:0\"\n[route.public]\npath = \"/public/*\"\npool = \"app\"\n\
         [pool.app]\nbackends = [\"{}\"]\n",
        loopback(),
        backend.url()
    ));
    for target in ["/public/../private", "/public/%2e%2e/private", "/public/..", "/public/..%2fprivate"] {
        assert_eq!(ask(&proxy.address, &upgrade_request(target, &[])).0, 404, "{target}");
    }
    let mut client = proxy.dial();
    client.send(&upgrade_request("/public/a/../b", &[]));
    assert_eq!(backend.request().1.target(), "/public/a/../b", "what is forwarded is as it came");
}

#[test]
fn each_route_has_its_pool() {
    let backends = [Stage::new(), Stage::new()];
    let proxy = Proxy::from_toml_on_one_core(&format!(
        "[listen.public]\naddr = \"{}:0\"\n\
         [route.chat]\nhost = \"chat.example\"\npool = \"chat\"\n[route.rest]\npool = \"rest\"\n\
         [pool.chat]\nbackends = [\"{}\"]\n[pool.rest]\nbackends = [\"{}\"]\n",
        loopback(),
        backends[0].url(),
        backends[1].url()
    ));
    for (host, backend) in [("chat.example", &backends[0]), ("else.example", &backends[1])] {
        let mut client = proxy.dial();
        client.send(&upgrade_request_to(host, "/", &[]));
        assert_eq!(backend.request().1.one("host"), host);
    }
}
