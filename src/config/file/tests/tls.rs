//! What a file may say of TLS, and what is told about one that says otherwise.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{FULL, Parsed, World, lines, parse, parsed, pool, told, world};
use crate::tls::{Client, ClientAuth, Server, Verification, Version};

/// A listener with these lines in its table `tls`, from the third on, in front of what else a file needs.
fn listen(lines: &str) -> String {
    format!("[listen.public]\naddr = \":443\"\n[listen.public.tls]\n{lines}\n[route.a]\nrespond = \"echo\"\n")
}

fn server(text: &str) -> Arc<Server> {
    parsed(text).config.listeners[0].tls.clone().unwrap()
}

fn client(text: &str) -> Option<Arc<Client>> {
    parsed(text).config.pools[0].tls.clone()
}

const A: &str = "cert = \"/tls/a.pem\"\nkey = \"/tls/a.key\"\n";

const INSECURE: &str =
    "selat.toml:3: [pool.chat.tls]: insecure = true: certificates of backends are not checked";

#[test]
fn a_listener_with_a_certificate_has_sound_defaults() {
    let server = server(&listen(A));
    let settings = server.settings();
    assert_eq!(settings.certificates.len(), 1);
    assert!(settings.clients.is_none());
    assert_eq!(settings.least, Version::V1_2);
    assert_eq!(settings.handshakes_per_second, NonZeroU32::new(2000));
    assert_eq!(settings.timeout, Duration::from_secs(10));
}

#[test]
fn every_key_of_a_listener_does_what_it_says() {
    let server = server(FULL);
    let settings = server.settings();
    assert_eq!(settings.certificates.len(), 2);
    assert_eq!(settings.clients.as_ref().unwrap().auth, ClientAuth::Optional);
    assert_eq!((settings.least, settings.handshakes_per_second), (Version::V1_3, None));
    assert_eq!(settings.timeout, Duration::from_secs(3));
}

#[test]
fn whoever_names_an_authority_of_clients_wants_their_certificates() {
    let server = server(&listen(&format!("{A}client_ca = \"/tls/ca.pem\"")));
    assert_eq!(server.settings().clients.as_ref().unwrap().auth, ClientAuth::Required);
}

#[test]
fn a_pool_speaks_tls_where_a_backend_wants_it() {
    assert_eq!(client(&pool("backends = [\"ws://x\"]")), None);
    let client = client(&pool("backends = [\"ws://x\", \"wss://y\"]")).unwrap();
    let settings = client.settings();
    assert!(matches!(settings.verification, Verification::By(_)));
    assert_eq!((&settings.certificate, &settings.server_name), (&None, &None));
}

#[test]
fn every_key_of_a_pool_does_what_it_says() {
    let pools = parsed(FULL).config.pools.clone();
    let [plain, feed, lab] = [0, 1, 2].map(|at: usize| pools[at].tls.clone());
    assert_eq!(plain, None);
    let feed = feed.unwrap();
    assert!(matches!(feed.settings().verification, Verification::By(_)));
    assert_eq!(feed.settings().server_name.as_deref(), Some("vendor.example"));
    assert!(feed.settings().certificate.is_some());
    assert_eq!(lab.unwrap().settings().verification, Verification::Insecure);
}

#[test]
fn the_authorities_of_the_machine_are_asked_for_once_and_only_if_they_have_to_be() {
    let rows = [
        ("[pool.a]\nbackends = [\"ws://a\"]\n", 0),
        ("[pool.a]\nbackends = [\"wss://a\"]\ntls = { ca = \"/tls/ca.pem\" }\n", 0),
        ("[pool.a]\nbackends = [\"wss://a\"]\ntls = { insecure = true }\n", 0),
        ("[pool.a]\nbackends = [\"wss://a\"]\n[pool.b]\nbackends = [\"wss://b\"]\ntls = {}\n", 1),
    ];
    for (pools, asked) in rows {
        let world = world();
        let text = format!("[listen.public]\naddr = \":1\"\n[route.a]\npool = \"a\"\n{pools}");
        parse(&text, "selat.toml", &world).unwrap();
        assert_eq!(world.asked_for_roots.get(), asked, "{pools}");
    }
    let world = World { roots: Vec::new(), ..world() };
    let told = lines(&parse(&pool("backends = [\"wss://x\"]"), "selat.toml", &world).unwrap_err());
    assert!(
        told.starts_with(
            "selat.toml:1: [pool.chat.tls]: the authorities that this machine believes cannot be read: "
        ) && told.contains("name the authority of the backends in ca"),
        "{told}"
    );
}

#[test]
fn the_files_of_certificates_belong_to_the_configuration() {
    let Parsed { files, .. } = parsed(FULL);
    let all = ["/tls/a.key", "/tls/a.pem", "/tls/b.key", "/tls/b.pem", "/tls/ca.pem"];
    for file in all {
        assert!(files.iter().any(|path| path == Path::new(file)), "{file} in {files:?}");
    }
}

#[test]
fn only_the_paths_of_keys_are_ever_shown() {
    let config = parsed(FULL).config;
    assert!(config.render().contains("/tls/a.key"));
    let crossed = told(&listen("cert = \"/tls/b.pem\"\nkey = \"/tls/a.key\""));
    let mixed_up = told(&listen("cert = \"/tls/a.key\"\nkey = \"/tls/a.pem\""));
    let key = world().files["/tls/a.key"].lines().nth(1).unwrap().to_owned();
    for text in [config.render().to_owned(), format!("{config:#?}"), crossed, mixed_up] {
        assert!(!text.contains(&key), "{text}");
    }
    let foreign = told(&listen("cert = \"${TLS}/a.pem\"\nkey = \"${TLS}/nowhere\""));
    assert!(foreign.contains("key in [listen.public.tls]: ${TLS}/nowhere: cannot be read"), "{foreign}");
}

/// That each of these tables `tls` of a listener is told of.
fn tells(rows: &[(&str, &str)]) {
    for (lines, part) in rows {
        let told = told(&listen(lines));
        assert!(told.contains(part), "{lines}\n{told}\n{part}");
    }
}

#[test]
fn what_is_wrong_with_a_certificate_is_told() {
    tells(&[
        ("", "3: [listen.public.tls]: there is no certificate; write cert = \"/path\" and key = \"/path\""),
        ("cert = \"/tls/a.pem\"", "3: [listen.public.tls]: key is missing; write key = \"/path\""),
        ("key = \"/tls/a.key\"", "3: [listen.public.tls]: cert is missing"),
        (
            "cert = \"/tls/a.pem\"\nkey = \"/tls/b.key\"",
            "4: cert in [listen.public.tls]: /tls/a.pem: the key does not belong to this certificate",
        ),
        (
            "cert = \"/tls/nowhere\"\nkey = \"/tls/a.key\"",
            "4: cert in [listen.public.tls]: /tls/nowhere: cannot be read: ",
        ),
        (
            "cert = \"/tls/a.key\"\nkey = \"/tls/a.key\"",
            "4: cert in [listen.public.tls]: /tls/a.key: there is a private key in it and no certificate",
        ),
        (
            "cert = \"/tls/a.pem\"\nkey = \"/tls/a.pem\"",
            "5: key in [listen.public.tls]: /tls/a.pem: there is a certificate in it and no private key",
        ),
        (
            "cert = \"a.pem\"\nkey = \"/tls/a.key\"",
            "4: cert in [listen.public.tls]: \"a.pem\" does not begin with /",
        ),
        (
            "cert = \"/tls/a.pem.cut\"\nkey = \"/tls/a.key\"",
            "4: cert in [listen.public.tls]: /tls/a.pem.cut: it is damaged: ",
        ),
        (
            "cert = \"/tls/a.pem\"\nkey = \"/tls/a.key.cut\"",
            "5: key in [listen.public.tls]: /tls/a.key.cut: it is damaged: ",
        ),
        ("certs = []", "4: certs in [listen.public.tls]: there is no certificate"),
        (
            "certs = [{ cert = \"/tls/a.pem\" }]",
            "4: [listen.public.tls.certs[0]]: key is missing; write key = \"/path\"",
        ),
        (
            "certs = [\n{ cert = \"/tls/a.pem\", key = \"/tls/a.key\" },\n{ cert = \"/tls/b.pem\", key = \"/tls/a.key\" }]",
            "6: cert in [listen.public.tls.certs[1]]: /tls/b.pem: the key does not belong",
        ),
        (
            "cert = \"/tls/a.pem\"\nkey = \"/tls/a.key\"\ncerts = []",
            "6: certs in [listen.public.tls]: there is a cert or key too",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_a_listener_is_told() {
    tells(&[
        (
            "cert = \"/tls/a.pem\"\nkey = \"/tls/a.key\"\nclient_auth = \"required\"",
            "6: client_auth in [listen.public.tls]: there is no client_ca",
        ),
        (
            "cert = \"/tls/a.pem\"\nkey = \"/tls/a.key\"\nclient_ca = \"/tls/a.key\"",
            "6: client_ca in [listen.public.tls]: /tls/a.key: there is a private key in it and no certificate",
        ),
        (
            "cert = \"/tls/a.pem\"\nkey = \"/tls/a.key\"\nmin_version = \"1.1\"",
            "6: min_version in [listen.public.tls]: \"1.1\" is not known here; did you mean \"1.2\"?",
        ),
        (
            "cert = \"/tls/a.pem\"\nkey = \"/tls/a.key\"\nhandshakes = \"many\"",
            "6: handshakes in [listen.public.tls]: \"many\" is not a rate; write a whole number a second, such as 50/s; or off",
        ),
        (
            "cert = \"/tls/a.pem\"\nkey = \"/tls/a.key\"\nhandshakes = \"4294967296/s\"",
            "6: handshakes in [listen.public.tls]: 4294967295/s is the most; write off for no limit",
        ),
        ("certificate = \"/tls/a.pem\"", "4: unknown key \"certificate\" in [listen.public.tls]"),
    ]);
    let at_the_listener =
        told("[listen.public]\naddr = \":1\"\ncert = \"/tls/a.pem\"\n[route.a]\nrespond = \"echo\"\n");
    assert!(at_the_listener.contains("; did you mean \"tls.cert\"?"), "{at_the_listener}");
}

#[test]
fn what_is_wrong_with_a_pool_is_told() {
    let rows = [
        ("tls.cert = \"/tls/a.pem\"", "3: [pool.chat.tls]: key is missing; write key = \"/path\""),
        ("tls.key = \"/tls/a.key\"", "3: [pool.chat.tls]: cert is missing; write cert = \"/path\""),
        ("tls.ca = \"/tls/nowhere\"", "3: ca in [pool.chat.tls]: /tls/nowhere: cannot be read: "),
        (
            "tls.ca = \"/tls/a.key\"",
            "3: ca in [pool.chat.tls]: /tls/a.key: there is a private key in it and no certificate",
        ),
        (
            "tls = { ca = \"/tls/ca.pem\", insecure = true }",
            "3: ca in [pool.chat.tls]: insecure = true believes everybody",
        ),
        (
            "tls.cert = \"/tls/a.pem\"\ntls.key = \"/tls/b.key\"",
            "3: cert in [pool.chat.tls]: /tls/a.pem: the key does not belong",
        ),
        ("tls = true", "3: tls in [pool.chat]: true is not a table"),
        (
            "tls.insecure = \"yes\"",
            "3: insecure in [pool.chat.tls]: \"yes\" is not true or false; write true",
        ),
    ];
    for (line, part) in rows {
        for url in ["wss://x", "ws://x"] {
            let told = told(&pool(&format!("backends = [\"{url}\"]\n{line}")));
            assert!(told.contains(part), "{line}\n{told}\n{part}");
        }
    }
}

#[test]
fn a_name_that_no_certificate_can_be_for_is_told() {
    let rows = [
        (
            "backends = [\"wss://x\"]\ntls.server_name = \"a b\"",
            "3: server_name in [pool.chat.tls]: \"a b\" is no name that a certificate can be for",
        ),
        (
            "backends = [\"ws://-x-\", \"wss://a..b\"]",
            "2: backends in [pool.chat]: \"a..b\" is no name that a certificate can be for",
        ),
    ];
    for (lines, part) in rows {
        let told = told(&pool(lines));
        assert!(told.contains(part), "{lines}\n{told}\n{part}");
    }
    let named = pool("backends = [\"wss://a..b\"]\ntls.server_name = \"a.b\"");
    assert!(client(&named).unwrap().server_name("a..b").is_ok());
}

#[test]
fn a_certificate_that_is_not_valid_now_is_warned_of_and_used() {
    let rows = [
        ("a", ""),
        ("b", ""),
        ("soon", "expires in 13 days, on 2030-06-14 00:00 UTC; renew it"),
        ("over", "expired 1 day ago, on 2030-05-31 00:00 UTC; nobody believes it: renew it"),
        (
            "ahead",
            "is not valid until 2030-06-02 00:00 UTC, in 1 day; use another until then, or set the clock",
        ),
    ];
    for (name, worry) in rows {
        let pair = format!("cert = \"/tls/{name}.pem\"\nkey = \"/tls/{name}.key\"");
        let whole = |place: &str| match worry {
            "" => String::new(),
            worry => format!("selat.toml:{place}: /tls/{name}.pem: {worry}\n"),
        };
        let listener = parsed(&listen(&pair));
        assert_eq!(lines(&listener.warnings), whole("4: cert in [listen.public.tls]"));
        assert!(listener.config.listeners[0].tls.is_some());
        let pool = parsed(&pool(&format!("backends = [\"wss://x\"]\n[pool.chat.tls]\n{pair}")));
        assert_eq!(lines(&pool.warnings), whole("4: cert in [pool.chat.tls]"));
    }
}

#[test]
fn what_is_odd_about_a_pool_is_told_each_time() {
    let rows = [
        ("wss", "tls.insecure = true", INSECURE),
        ("ws", "tls.insecure = true", "selat.toml:3: [pool.chat.tls]: none of the backends is asked for TLS"),
        (
            "ws",
            "tls.ca = \"/tls/ca.pem\"",
            "selat.toml:3: [pool.chat.tls]: none of the backends is asked for TLS",
        ),
    ];
    for (scheme, line, part) in rows {
        let text = pool(&format!("backends = [\"{scheme}://x\"]\n{line}"));
        let Parsed { warnings, config, .. } = parsed(&text);
        assert!(lines(&warnings).starts_with(part) && warnings.len() == 1, "{}", lines(&warnings));
        assert_eq!(parsed(config.render()).warnings.len(), 1);
    }
}
