//! What a route makes of a request and its answer: fixed responses, other paths, other headers.
#![cfg(feature = "runtime")]

mod support;

use support::frames::{BINARY, client_frame};
use support::gate::{Gate, Session};
use support::http::{upgrade_request, upgrade_request_to};
use support::loopback;
use support::proxy::{Proxy, command, run_to_end};
use support::raw::Raw;

#[test]
fn a_fixed_response_answers_any_request() {
    let mut proxy = Proxy::from_toml_on_one_core(&format!(
        "[listen.public]\naddr = \"{}:0\"\n\
         [route.healthz]\npath = \"/healthz\"\nrespond = {{ body = \"ok\\n\" }}\n\
         [route.moved]\npath = \"/moved\"\n\
         respond = {{ status = 308, headers = {{ Location = \"https://feed.example/v2\" }} }}\n\
         [route.page]\npath = \"/page\"\n\
         respond = {{ status = 503, body = \"<p>Später</p>\", content_type = \"text/html; charset=utf-8\" }}\n",
        loopback()
    ));
    let address = proxy.address.clone();
    let ask = |request: &[u8]| {
        let mut client = Raw::connect(&address);
        client.send(request);
        client.response()
    };
    let plain = |method: &str, more: &str| {
        format!("{method} /healthz HTTP/1.1\r\nHost: x\r\n{more}\r\n").into_bytes()
    };
    let requests = [
        plain("GET", ""),
        plain("GET", "Connection: keep-alive\r\n"),
        upgrade_request("/healthz", &[]),
        upgrade_request("/healthz?now", &[]),
        [plain("POST", "Content-Length: 5\r\n"), b"hello".to_vec()].concat(),
    ];
    for request in &requests {
        let (head, body) = ask(request);
        assert_eq!((head.status(), body.as_slice()), (200, b"ok\n".as_slice()));
        assert_eq!((head.one("content-length"), head.one("connection")), ("3", "close"));
        assert_eq!(head.one("content-type"), "text/plain; charset=utf-8");
    }
    // RFC 9110 §9.3.2.
    let (head, body) = ask(&plain("HEAD", ""));
    assert_eq!((head.status(), head.one("content-length"), body.len()), (200, "3", 0));
    let (head, body) = ask(&upgrade_request("/moved", &[]));
    assert_eq!((head.status(), head.one("location"), body.len()), (308, "https://feed.example/v2", 0));
    let (head, body) = ask(&upgrade_request("/page", &[]));
    assert_eq!(head.one("content-type"), "text/html; charset=utf-8");
    assert_eq!((head.status(), body), (503, "<p>Später</p>".into()));
    for _ in 0..requests.len() + 1 {
        let line = proxy.line("request answered");
        assert_eq!((line.get("route"), line.get("reason")), ("healthz".into(), "fixed_response".into()));
    }
    // What is no good news counts as a refusal.
    assert_eq!(proxy.refusal(), (503, "fixed_response".into()));
    // A request that two parsers might read differently gets no answer of the route's.
    for broken in
        [&b"GET /healthz HTTP/1.1\r\n\r\n"[..], b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"]
    {
        assert_eq!(ask(broken).0.status(), 400);
    }
}

#[test]
fn rules_that_a_fixed_response_would_not_keep_are_mistakes() {
    let directory = support::path::Directory::new("unkept");
    let rules = ["allow = [\"10.0.0.0/8\"]", "limits = { connections = 1 }", "ping = { every = \"1s\" }"];
    for rule in rules {
        let text = format!(
            "[listen.public]\naddr = \"127.0.0.1:0\"\n[route.inside]\npath = \"/inside\"\n{rule}\n\
             respond = {{ body = \"for friends\" }}\n"
        );
        std::fs::write(directory.file("selat.toml"), text).expect("it is ours");
        let (code, said) = run_to_end(command(&["check", &directory.argument("selat.toml")]));
        let key = rule.split(' ').next().expect("a key");
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(":5: ") && said.contains(key) && said.contains("fixed response"), "{said}");
    }
}

#[test]
fn a_rewritten_path_reaches_the_backend_with_its_query() {
    let rows: [(&str, &[(&str, &str)]); 4] = [
        (
            "rewrite = { strip = \"/api\" }",
            &[
                ("/api/room?id=/api/7", "/room?id=/api/7"),
                ("/api", "/"),
                ("/api/", "/"),
                ("/apiary", "/apiary"),
                ("/", "/"),
            ],
        ),
        ("rewrite = { add = \"/v2\" }", &[("/room?x", "/v2/room?x"), ("/", "/v2/")]),
        ("rewrite = { strip = \"/v1\", add = \"/v2\" }", &[("/v1/room", "/v2/room")]),
        ("rewrite = { replace = \"/socket\" }", &[("/any/thing?q=1", "/socket?q=1"), ("/", "/socket")]),
    ];
    for (rewrite, targets) in rows {
        let gate = Gate::new(rewrite);
        for (target, expected) in targets {
            let Session { asked, .. } = gate.admits(&upgrade_request(target, &[]));
            assert_eq!(asked.target(), *expected, "{rewrite}: {target}");
        }
    }
}

#[test]
fn headers_are_changed_both_ways() {
    let route = "[route.all.request_headers]\n\
        remove = [\"X-Debug\", \"cookie\"]\n\
        set = { X-Tenant = \"{host}\", X-Real-Ip = \"{client_ip}\", X-User = \"{identity}\", Host = \"inner.example\" }\n\
        add = { Via = \"1.1 selat/{route}\", X-Braces = \"{{{path}}}\" }\n\
        [route.all.response_headers]\nremove = [\"Server\"]\nset = { X-Served-By = \"{route}\" }\n\
        add = { Set-Cookie = \"seen={path}\" }";
    let gate = Gate::new(route);
    let request = upgrade_request_to(
        "a.apps.example:80",
        "/room/7?q",
        &[
            "X-Debug: 1",
            "x-debug: 2",
            "Cookie: secret",
            "X-Tenant: forged",
            "x-tenant: twice",
            "X-User: root",
            "Via: 1.0 front",
            "X-Kept: as it is",
        ],
    );
    let answer = ["Server: tornado", "X-Served-By: me", "Set-Cookie: a=1", "X-Kept: too"];
    let Session { asked, answered, .. } = gate.admits_on(gate.proxy.dial(), &request, &answer);
    assert_eq!(asked.all("x-debug"), Vec::<&str>::new());
    assert_eq!(asked.all("cookie"), Vec::<&str>::new());
    assert_eq!(asked.one("x-tenant"), "a.apps.example:80");
    assert_eq!(asked.one("x-real-ip"), "127.0.0.1");
    // Nobody has proved to be anybody, least of all root.
    assert_eq!(asked.all("x-user"), Vec::<&str>::new());
    assert_eq!(asked.one("host"), "inner.example");
    assert_eq!(asked.all("via"), ["1.0 front", "1.1 selat/all"]);
    assert_eq!(asked.one("x-braces"), "{/room/7}");
    assert_eq!(asked.one("x-kept"), "as it is");
    assert_eq!(answered.all("server"), Vec::<&str>::new());
    assert_eq!(answered.one("x-served-by"), "all");
    assert_eq!(answered.all("set-cookie"), ["a=1", "seen=/room/7"]);
    assert_eq!(answered.one("x-kept"), "too");
}

#[test]
fn an_echo_route_keeps_its_limits_and_says_so() {
    let mut proxy = Proxy::from_toml_on_one_core(&format!(
        "[listen.public]\naddr = \"{}:0\"\n[route.echo]\nrespond = \"echo\"\nlimits = {{ message = \"1KiB\" }}\n\
         response_headers = {{ set = {{ X-Served-By = \"{{route}}\" }} }}\n",
        loopback()
    ));
    let mut client = proxy.dial();
    client.send(&upgrade_request("/", &[]));
    let head = client.head();
    assert_eq!((head.status(), head.one("x-served-by")), (101, "echo"));
    client.send(&client_frame(BINARY, true, &[7; 1024]));
    assert_eq!(client.frame().payload, [7; 1024]);
    client.send(&client_frame(BINARY, true, &[7; 1025]));
    assert_eq!(client.frame().close().0, 1009);
    drop(client);
    let line = proxy.session();
    assert_eq!(line.end(), ("client".into(), "violation".into(), Some(1009)));
    assert_eq!((line.get("route"), line.get("backend")), ("echo".into(), "selat".into()));
}
