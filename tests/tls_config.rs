//! Certificates and authorities in files and flags: what `selat check` says of them, what is told at a start and a
//! reload, and that a file that has changed is taken up.
#![cfg(feature = "runtime")]

mod support;

use std::fs;
use std::io::Write;

use serde_json::json;

use support::backend::Stage;
use support::http::upgrade_request;
use support::path::Directory;
use support::proxy::{Proxy, command, run_to_end};
use support::site::{Site, route};
use support::tls::{self, Authority, Certificate, Validity};
use support::toml::File;
use support::ws::{expect_echo, text};
use support::{allowed_cores, eventually, loopback};

const CHANGED: &str = "listener secure: certificates or TLS settings changed";

/// A listener with these lines in its table `tls`, which begin at line 6, and something to do.
fn file(lines: &str) -> String {
    format!(
        "[process]\nmax_connections = 8\n[listen.secure]\naddr = \"{}:0\"\n[listen.secure.tls]\n{lines}\n\
         [route.all]\nrespond = \"echo\"\n",
        loopback()
    )
}

/// The lines that name these files.
fn pair(cert: &str, key: &str) -> String {
    format!("cert = \"{cert}\"\nkey = \"{key}\"\n")
}

fn lines_of(certificate: &Certificate) -> String {
    pair(&certificate.chain_file(), &certificate.key_file())
}

/// A listener with this certificate, beside the one that every site has.
fn secure(lines: &str) -> String {
    format!("[listen.secure]\naddr = \"{}:0\"\n[listen.secure.tls]\n{lines}\n", loopback())
}

/// What `selat check` says of this text: its exit code, standard output and standard error.
fn check(text: &str) -> (Option<i32>, String, String) {
    let file = File::new(text);
    let output = command(&["check", file.path()]).output().expect("it runs");
    let utf8 = |bytes| String::from_utf8(bytes).expect("UTF-8").replace(file.path(), "FILE");
    (output.status.code(), utf8(output.stdout), utf8(output.stderr))
}

#[test]
fn check_shows_whose_certificates_there_are_and_until_when_and_no_key() {
    let authority = Authority::new();
    let [chat, feed] = [&["chat.example", "192.0.2.7"][..], &["*.feed.example"]]
        .map(|names| authority.certificate(names, Validity::Now));
    let table =
        |one: &Certificate| format!("{{ cert = \"{}\", key = \"{}\" }}", one.chain_file(), one.key_file());
    let (code, shown, errors) = check(&file(&format!("certs = [{}, {}]", table(&chat), table(&feed))));
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    for line in [
        "has a certificate for chat.example, 192.0.2.7, until 20",
        "has a certificate for *.feed.example, until 20",
    ] {
        assert!(shown.contains(&format!("# [listen.secure] {line}")), "{line} in {shown}");
    }
    assert!(shown.contains(&chat.key_file()) && shown.contains("handshakes = \"2000/s\""), "{shown}");
    let secret = chat.key.lines().nth(1).expect("PEM has lines");
    assert!(!shown.contains(secret), "{shown}");
    assert_eq!(check(&shown), (Some(0), shown.clone(), String::new()), "what is shown is a configuration");
}

#[test]
fn check_tells_what_is_wrong_with_certificates_and_where() {
    let authority = Authority::new();
    let [one, other] = [(); 2].map(|()| authority.certificate(&["chat.example"], Validity::Now));
    let directory = Directory::new("tls-wrong");
    let nowhere = directory.argument("nowhere.pem");
    let empty = directory.argument("empty.pem");
    fs::write(&empty, "").expect("it is ours");
    let rows = [
        (
            pair(&one.chain_file(), &other.key_file()),
            6,
            "cert",
            one.chain_file(),
            "the key does not belong to this certificate",
        ),
        (
            pair(&nowhere, &one.key_file()),
            6,
            "cert",
            nowhere.clone(),
            "cannot be read: No such file or directory",
        ),
        (
            pair(&one.chain_file(), &nowhere),
            7,
            "key",
            nowhere.clone(),
            "cannot be read: No such file or directory",
        ),
        (pair(&one.chain_file(), &empty), 7, "key", empty.clone(), "there is no private key in it"),
        (lines_of(&one) + &format!("client_ca = \"{nowhere}\""), 8, "client_ca", nowhere, "cannot be read"),
        (
            lines_of(&one) + &format!("client_ca = \"{empty}\""),
            8,
            "client_ca",
            empty,
            "there is no certificate in it",
        ),
    ];
    for (lines, at, key, path, why) in rows {
        let (code, shown, errors) = check(&file(&lines));
        assert_eq!((code, shown.as_str()), (Some(1), ""), "{errors}");
        let told = format!("FILE:{at}: {key} in [listen.secure.tls]: {path}: {why}");
        assert!(errors.starts_with(&told) && errors.lines().count() == 1, "{told}\n{errors}");
    }
}

#[test]
fn a_certificate_that_is_not_valid_now_is_a_warning() {
    let authority = Authority::new();
    let rows = [(Validity::Over, "expired 1 day ago, on 20"), (Validity::Ahead, "is not valid until 20")];
    for (validity, worry) in rows {
        let certificate = authority.certificate(&["chat.example"], validity);
        let text = file(&lines_of(&certificate));
        let (code, _, errors) = check(&text);
        let told = format!("6: cert in [listen.secure.tls]: {}: {worry}", certificate.chain_file());
        assert_eq!(code, Some(0), "{errors}");
        assert!(errors.contains(&told) && errors.ends_with("(a warning)\n"), "{told}\n{errors}");

        let file = File::new(&text);
        let mut proxy = Proxy::spawn(command(&["run", "-c", file.path()]));
        proxy.line_beginning(&format!("{}:{told}", file.path()));
    }
}

#[test]
fn a_certificate_that_is_renewed_is_taken_up_and_nothing_else_changes() {
    let authority = Authority::new();
    let [certificate, renewed] = [(); 2].map(|()| authority.certificate(&["chat.example"], Validity::Now));
    let mut site =
        Site::start("renewed", &(route("chat", &["ws://127.0.0.1:1"]) + &secure(&lines_of(&certificate))));
    assert_eq!(site.reload(), [""; 0], "the same certificate is no change");
    site.proxy.line("reloaded");
    certificate.write(&renewed);
    // Nobody orders it. The key comes first, so that it may take two looks.
    assert_eq!(site.proxy.line("reloaded").get("changes"), format!("[\"{CHANGED}\"]"));
    eventually("it is in force", || site.status()["config"]["last_reload"]["error"] == json!(null));
}

#[test]
fn settings_of_tls_can_change_and_what_is_wrong_changes_nothing() {
    let authority = Authority::new();
    let certificate = authority.certificate(&["chat.example"], Validity::Now);
    let chat = route("chat", &["ws://127.0.0.1:1"]);
    let listener = secure(&lines_of(&certificate));
    let site = Site::start("settings", &(chat.clone() + &listener));
    for wrong in ["client_ca = \"/nowhere/ca.pem\"", "certs = []", "client_auth = \"required\""] {
        site.rewrite(&format!("{chat}{listener}{wrong}\n"));
        let (status, answer) = site.post("/reload");
        let error = answer["error"].as_str().expect("a reason");
        let place = format!("{}:{}: ", site.file().display(), site.line_of(wrong));
        assert!(status == 422 && error.starts_with(&place), "{place}: {error}");
    }
    assert_eq!(site.status()["config"]["generation"], json!(1));
    site.rewrite(&format!("{chat}{listener}client_ca = \"{}\"\n", authority.file()));
    assert_eq!(site.reload(), [CHANGED]);
    // To speak TLS at all is such a setting too.
    let plain = listener.split_once("[listen.secure.tls]").expect("it has one").0;
    site.rewrite(&format!("{chat}{plain}"));
    assert_eq!(site.reload(), [CHANGED]);
}

#[test]
fn a_pool_that_believes_anybody_is_warned_of_at_every_start_and_reload() {
    let insecure = route("feed", &["wss://127.0.0.1:1"]) + "tls.insecure = true\n";
    let mut site = Site::start("insecure", &insecure);
    let at = site.line_of("[pool.feed]") + 2;
    let told = format!("{}:{at}: [pool.feed.tls]: insecure = true", site.file().display());
    site.proxy.line_beginning(&told);
    for _ in 0..2 {
        site.reload();
        site.proxy.line_beginning(&told);
    }
}

/// As in `examples/tls.toml`.
#[test]
fn the_name_in_a_clients_certificate_is_its_identity_in_headers() {
    let [public, machines] = [(); 2].map(|()| Authority::new());
    let certificate = public.certificate(&["localhost"], Validity::Now);
    let stage = Stage::new();
    let proxy = Proxy::from_toml_on_one_core(&format!(
        "[listen.machines]\naddr = \"{}:0\"\n[listen.machines.tls]\n{}client_ca = \"{}\"\n[route.all]\npool = \"app\"\n\
         request_headers = {{ set = {{ \"X-Machine\" = \"{{identity}}\" }} }}\n[pool.app]\nbackends = [\"{}\"]\n",
        loopback(),
        lines_of(&certificate),
        machines.file(),
        stage.url()
    ));
    let machine = machines.client_certificate("press-7", Validity::Now);
    let mut client =
        tls::dial(&proxy.address, "localhost", public.client_with(&machine)).expect("a handshake");
    client.write_all(&upgrade_request("/", &["X-Machine: somebody-else"])).expect("it takes a request");
    client.flush().expect("it takes a request");
    let (_, request) = stage.request();
    assert_eq!(request.all("x-machine"), ["press-7"]);
}

#[test]
fn flags_name_certificates_which_are_renewed_too() {
    let authority = Authority::new();
    let [certificate, renewed] = [(); 2].map(|()| authority.certificate(&["localhost"], Validity::Now));
    let backend = tls::serve_echo(&authority);
    let flags =
        ["--cert", &certificate.chain_file(), "--key", &certificate.key_file(), "--ca", &authority.file()];
    let mut proxy = Proxy::start(&flags, &[&backend.tls_url()]);
    let mut old = tls::connect(&proxy.address, &authority);
    let shown = || {
        let stream = tls::dial(&proxy.address, "localhost", authority.client()).expect("a handshake");
        stream.conn.peer_certificates().expect("a server shows one").to_vec()
    };
    let first = shown();
    certificate.write(&renewed);
    eventually("new connections are shown the new one", || shown() != first);
    let changed = "[\"listener public: certificates or TLS settings changed\"]";
    assert_eq!(proxy.line("reloaded").get("changes"), changed);
    expect_echo(&mut old, &text("no session noticed"));
}

#[test]
fn backends_are_held_against_the_authorities_of_the_machine() {
    let authority = Authority::new();
    let backend = tls::serve_echo(&authority);
    let listen = format!("{}:0", loopback());
    let core = allowed_cores().first().expect("one core").to_string();
    let selat = |roots: &str| {
        let mut command = command(&[&listen, &backend.tls_url(), "--cores", &core]);
        command.env("SSL_CERT_FILE", roots).env_remove("SSL_CERT_DIR");
        command
    };
    let proxy = Proxy::spawn(selat(&authority.file()));
    expect_echo(&mut proxy.connect(), &text("through"));

    let (code, said) = run_to_end(selat("/nowhere/roots.pem"));
    let told = "[pool.default.tls]: the authorities that this machine believes cannot be read: ";
    assert!(code == Some(2) && said.starts_with(told), "{said}");
    assert!(said.contains("/nowhere/roots.pem") && said.contains("install ca-certificates"), "{said}");
}

#[test]
fn flags_that_lead_nowhere_are_told_without_a_file_that_nobody_wrote() {
    let authority = Authority::new();
    let [one, other] = [(); 2].map(|()| authority.certificate(&["chat.example"], Validity::Now));
    let [cert, key] = [one.chain_file(), other.key_file()];
    let relative = std::env::current_dir().expect("there is one").join("nowhere.pem");
    let [plain, secure] = ["ws://127.0.0.1:1", "wss://127.0.0.1:1"];
    let rows: [(&[&str], String); 5] = [
        (
            &["--cert", &cert, "--key", &key, plain],
            format!("cert in [listen.public.tls]: {cert}: the key does not belong"),
        ),
        (
            &["--cert", "nowhere.pem", "--key", &key, plain],
            format!("cert in [listen.public.tls]: {}: cannot be read", relative.display()),
        ),
        (
            &["--ca", "nowhere.pem", secure],
            format!("ca in [pool.default.tls]: {}: cannot be read", relative.display()),
        ),
        (&["--cert", &cert, plain], "error: the following required arguments were not provided".to_owned()),
        (
            &["--ca", &cert, "--insecure", secure],
            "error: the argument '--ca <FILE>' cannot be used with '--insecure'".to_owned(),
        ),
    ];
    for (flags, told) in rows {
        let (code, said) = run_to_end(command(&[&["127.0.0.1:0"], flags].concat()));
        assert!(code == Some(2) && said.starts_with(&told), "{told}\n{said}");
    }
    let mut proxy = Proxy::start(&["--insecure"], &[secure]);
    proxy.line_beginning("[pool.default.tls]: insecure = true: certificates of backends are not checked");
}
