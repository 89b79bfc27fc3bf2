//! `selat feed`: a feed without a file.
#![cfg(feature = "runtime")]

mod support;

use support::fed::{hear, hear_all, tick};
use support::proxy::{Proxy, command, run_to_end};
use support::vendor::Vendor;
use support::{allowed_cores, loopback};

/// One core's worth of it, with the vendor's key in the environment.
fn start(source: &str, flags: &[&str]) -> Proxy {
    let core = allowed_cores().first().expect("one core").to_string();
    let listen = format!("{}:0", loopback());
    let mut command = command(&[&["feed", &listen, source, "--cores", &core], flags].concat());
    command.env("SELAT_TEST_KEY", "v3nd0r-key");
    Proxy::spawn(command)
}

#[test]
fn flags_do_what_a_file_would() {
    let mut vendor = Vendor::start();
    vendor.greets_with(&["Connected"]);
    let flags = [
        "--on-open",
        "{\"userKey\":\"${SELAT_TEST_KEY}\",\"symbol\":\"EURUSD\"}",
        "--header",
        "X-Key: ${SELAT_TEST_KEY}",
        "--skip",
        "Connected",
        "--key",
        "/symbol",
        "--snapshot",
    ];
    let mut proxy = start(&vendor.url(), &flags);
    assert_eq!(vendor.opened().header("x-key"), "v3nd0r-key");
    assert_eq!(vendor.received(), "{\"userKey\":\"v3nd0r-key\",\"symbol\":\"EURUSD\"}");
    vendor.says([tick("EURUSD", 1), tick("GBPUSD", 2), tick("EURUSD", 3)]);
    let mut first = proxy.connect();
    while hear(&mut first) != tick("EURUSD", 3) {}
    let mut client = proxy.connect();
    assert_eq!(hear_all(&mut client, 2), [tick("GBPUSD", 2), tick("EURUSD", 3)]);
    proxy.expect_never_logged("v3nd0r-key");
}

#[test]
fn a_flag_that_needs_another_says_so() {
    let (code, said) = run_to_end(command(&["feed", ":0", "ws://127.0.0.1:1/", "--snapshot"]));
    assert_eq!(code, Some(2));
    assert!(said.contains("--key"), "{said}");
}
