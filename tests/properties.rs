//! Properties of the pure rooms. The functions in `properties/` serve cargo-fuzz too (see `fuzz/`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a property fails by panicking, and what it looks at is there"
)]

#[path = "properties/arbiter.rs"]
mod arbiter;
#[path = "properties/backend_head.rs"]
mod backend_head;
#[path = "properties/balance.rs"]
mod balance;
#[path = "properties/cuts.rs"]
mod cuts;
#[path = "properties/dispatcher.rs"]
mod dispatcher;
#[path = "properties/foreign.rs"]
mod foreign;
#[path = "properties/frame_header.rs"]
mod frame_header;
#[path = "properties/http.rs"]
mod http;
#[path = "properties/hub.rs"]
mod hub;
#[path = "properties/proxy_header.rs"]
mod proxy_header;
#[path = "properties/request_head.rs"]
mod request_head;
#[path = "properties/responder.rs"]
mod responder;
#[path = "properties/scanner.rs"]
mod scanner;
#[path = "properties/strategies.rs"]
mod strategies;
#[path = "properties/stream.rs"]
mod stream;
#[path = "properties/subscriber.rs"]
mod subscriber;
#[path = "properties/subscriptions.rs"]
mod subscriptions;
#[path = "properties/tunnel.rs"]
mod tunnel;

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use selat::balance::{BackendState, Policy, PoolView};
use selat::feed::{ClientMessages, Conflict};
use selat::protocol::Role;
use selat::protocol::frame::Rsv;
use selat::session::{Ending, Farewell, Peer, Script};

use strategies::{
    dispatch_settings, mutated_stream, noise, ops, proxy_header_bytes, request_bytes, response_bytes, rules,
    settings, sizes, subscription_op,
};
use tunnel::Op;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn a_frame_header_has_one_verdict(bytes in noise(20)) {
        frame_header::check(&bytes.0);
    }

    #[test]
    fn a_frame_header_at_the_edges_of_its_length_has_one_verdict(
        first: u8,
        second in prop::sample::select(vec![0u8, 125, 126, 127, 128, 253, 254, 255]),
        len in prop::sample::select(vec![0, 125, 126, 0xFFFF, 0x10000, u64::MAX >> 1, 1 << 63, u64::MAX]),
        is_wide: bool,
        rest: [u8; 5],
    ) {
        let len = len.to_be_bytes();
        let len = if is_wide { &len[..] } else { &len[6..] };
        frame_header::check(&[&[first, second], len, &rest].concat());
    }

    #[test]
    fn any_bytes_scan_alike_in_any_pieces(
        rules in rules(), bytes in noise(300), sizes in sizes(),
    ) {
        scanner::check(rules, &bytes.0, &sizes);
    }

    #[test]
    fn streams_scan_alike_in_any_pieces((rules, bytes) in rules().prop_flat_map(|rules| {
        (Just(rules), mutated_stream(rules.sender))
    }), sizes in sizes()) {
        scanner::check(rules, &bytes.0, &sizes);
        scanner::check_stops(rules, &bytes.0, &sizes);
    }

    #[test]
    fn a_responder_answers_alike_in_any_pieces(
        is_echo: bool,
        bytes in mutated_stream(Role::Client),
        message_bytes_max in prop_oneof![Just(u64::MAX), 0u64..300],
        sizes in sizes(),
    ) {
        let script = if is_echo { Script::Echo } else { Script::Listen };
        responder::check(script, message_bytes_max, &bytes.0, &sizes);
    }

    #[test]
    fn a_responder_says_goodbye_between_frames(
        is_echo: bool, bytes in mutated_stream(Role::Client), at in any::<prop::sample::Index>(),
    ) {
        let script = if is_echo { Script::Echo } else { Script::Listen };
        responder::check_close(script, &bytes.0, at.index(bytes.0.len() + 1));
    }

    #[test]
    fn a_client_of_a_feed_is_heard_alike_in_any_pieces(
        bytes in mutated_stream(Role::Client),
        client_messages in prop::sample::select(
            vec![ClientMessages::Discard, ClientMessages::Reject, ClientMessages::Forward],
        ),
        is_proven: bool,
        sizes in sizes(),
    ) {
        subscriber::check(client_messages, is_proven, &bytes.0, &sizes);
    }

    #[test]
    fn a_dispatcher_decides_alike_in_any_pieces(
        settings in dispatch_settings(),
        client in mutated_stream(Role::Client),
        backend in mutated_stream(Role::Server),
        sizes in sizes(),
    ) {
        dispatcher::check(&settings, &client.0, &backend.0, &sizes);
    }

    #[test]
    fn a_source_sends_what_clients_want_together(
        conflict in prop::sample::select(vec![Conflict::Adds, Conflict::Replaces]),
        ops in vec((0..4_usize, subscription_op()), 0..40),
    ) {
        subscriptions::check(conflict, &ops);
    }

    #[test]
    fn a_request_is_refused_or_forwarded_unambiguously(
        bytes in request_bytes(),
        client in option::of(any::<std::net::IpAddr>()),
        base_path in prop::sample::select(vec!["", "/base", "/base/path/"]),
    ) {
        request_head::check(&bytes.0, client, base_path);
    }

    #[test]
    fn a_proxy_header_has_one_verdict_in_any_pieces(bytes in proxy_header_bytes()) {
        proxy_header::check(&bytes.0);
    }

    #[test]
    fn a_proxy_header_is_read_as_it_was_written(endpoints: Option<(std::net::SocketAddr, std::net::SocketAddr)>) {
        proxy_header::check_round_trip(endpoints);
    }

    #[test]
    fn an_answer_is_passed_on_unambiguously_or_not_at_all(bytes in response_bytes()) {
        backend_head::check(&bytes.0);
    }

    #[test]
    fn a_tunnel_gives_each_peer_its_due_and_ends(
        rsv in prop::sample::select(vec![Rsv::NONE, Rsv::RSV1, Rsv::ALL]),
        settings in settings(),
        ops in ops(),
    ) {
        tunnel::check(rsv, settings, &ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_eligible_backend_is_found_and_no_other_is_picked(
        policy in balance::policy(), pool in balance::pool(), ops in vec(balance::op(), 0..60),
    ) {
        balance::check(&policy, pool, &ops);
    }

    #[test]
    fn places_are_granted_in_order_and_never_above_a_limit(
        queue in arbiter::queue(), ops in vec(arbiter::op(), 0..120),
    ) {
        arbiter::check(queue, &ops);
    }

    #[test]
    fn a_hub_gives_every_client_what_a_plain_model_says(
        settings in hub::settings(), ops in vec(hub::op(), 0..100),
    ) {
        #[expect(clippy::disallowed_methods, reason = "time begins somewhere")]
        hub::check(settings, &ops, std::time::Instant::now());
    }

    #[test]
    fn turns_are_exactly_proportional_over_a_cycle(weights in vec(1u32..600, 1..12)) {
        balance::check_turns(&weights, 3);
    }

    #[test]
    fn equal_backends_get_equal_numbers(backends in 1u32..40, seed: u64) {
        for policy in [Policy::RoundRobin, Policy::LeastConnections] {
            prop_assert!(balance::placed(&policy, backends, seed).iter().all(|sessions| *sessions == 100));
        }
        for policy in [Policy::PowerOfTwo, Policy::Ewma] {
            let sessions = balance::placed(&policy, backends, seed);
            let spread = sessions.iter().max().unwrap() - sessions.iter().min().unwrap();
            prop_assert!(spread <= 10, "{:?}", sessions);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn keys_are_shared_out_by_weight(weights in vec(64u32..1024, 1..12)) {
        balance::check_shares(&weights, 10_000);
    }

    #[test]
    fn a_joiner_takes_its_share_of_the_keys(weights in vec(64u32..1024, 1..12), joiner in 64u32..1024) {
        balance::check_joiner(&weights, joiner, 10_000);
    }

    #[test]
    fn keys_move_no_more_than_they_must(before in balance::pool(), after in balance::pool()) {
        let calm = |pool: PoolView| balance::unlimited(pool);
        balance::check_movement(&calm(before), &calm(after), 2_000);
    }
}

/// As in the paper: the fullest has little more than its share.
#[test]
fn keys_are_shared_out_by_weight_among_hundreds() {
    let weights: Vec<u32> = (0..400).map(|id| if id % 2 == 0 { 256 } else { 512 }).collect();
    let owned = balance::owned(&weights, 120_000);
    let (light, heavy): (Vec<_>, Vec<_>) = (0..).zip(&owned).partition(|(id, _)| id % 2 == 0);
    for (count, share) in
        light.iter().map(|(_, count)| (**count, 200)).chain(heavy.iter().map(|(_, count)| (**count, 400)))
    {
        assert!(count > share / 2 && count < share * 3 / 2, "{count} keys of {share}");
    }
    let light: usize = light.iter().map(|(_, count)| **count).sum();
    assert!((38_000..42_000).contains(&light), "{light} of a third of 120000");
}

/// Large enough for a ring: a backend goes down, comes back, leaves, returns elsewhere in the list.
#[test]
fn keys_move_no_more_than_they_must_among_hundreds() {
    let whole = balance::all_up(&vec![256; 300]);
    let mut down = whole.clone();
    down.backends[7].state = BackendState::Down;
    let mut without = whole.clone();
    without.backends.remove(7);
    let mut moved = without.clone();
    moved.backends.insert(200, whole.backends[7].clone());
    let mut heavier = whole.clone();
    heavier.backends[7].weight.0 *= 3;
    let mut most_down = whole.clone();
    most_down.backends[3..].iter_mut().for_each(|view| view.state = BackendState::Down);
    for (before, after) in [
        (&whole, &down),
        (&down, &whole),
        (&down, &without),
        (&without, &moved),
        (&moved, &whole),
        (&whole, &heavier),
        (&whole, &most_down),
    ] {
        balance::check_movement(before, after, 3_000);
    }
}

/// What fuzzing found before, and the inputs it begins with.
#[test]
fn every_seed_of_the_fuzz_targets_holds() {
    type Check = fn(&[u8]);
    let targets: [(&str, Check); 4] = [
        ("frame_header", frame_header::check),
        ("proxy_header", proxy_header::check),
        ("request_head", |bytes| request_head::check(bytes, None, "/base")),
        ("backend_head", backend_head::check),
    ];
    for (target, check) in targets {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        for seed in std::fs::read_dir(folder).unwrap() {
            let path = seed.unwrap().path();
            println!("{}", path.display());
            check(&std::fs::read(path).unwrap());
        }
    }
}

/// Sessions that went wrong before, told as they were found.
#[test]
fn no_session_goes_wrong_again() {
    let say = |peer, bytes: &[u8]| Op::Say { peer, bytes: bytes.to_vec() };
    let arrive = |peer, bytes| Op::Arrive { peer, bytes };
    let pass = |seconds| Op::Pass(Duration::from_secs(seconds));
    let fin = |peer| Op::End { peer, ending: Ending::Fin };
    let (client, backend) = (Peer::Client, Peer::Backend);
    let rows = [
        (
            "told to go, a peer was judged twice by the frame that it was in",
            vec![
                say(backend, &[&[0x82, 0x7E, 0, 200][..], &[b'x'; 200]].concat()),
                Op::Fault,
                arrive(backend, 150),
            ],
        ),
        ("a Close was owed behind a FIN", vec![fin(client), say(backend, &[0x83, 0]), arrive(backend, 2)]),
        ("after some silence, a half-closed client was cut at once", vec![pass(11), fin(client)]),
        (
            "served half-closed for long, a client was cut rather than told of a drain",
            vec![
                fin(client),
                pass(9),
                say(backend, &[0x81, 0]),
                arrive(backend, 2),
                pass(9),
                Op::Drain(Duration::ZERO, Farewell::GoingAway),
                pass(0),
            ],
        ),
        (
            "with a drain waiting for the end of its message, a dead backend was not reported",
            vec![
                say(backend, &[0x01, 0]),
                arrive(backend, 2),
                Op::Drain(Duration::ZERO, Farewell::GoingAway),
                pass(0),
                fin(backend),
            ],
        ),
    ];
    for (what, ops) in rows {
        println!("{what}");
        tunnel::check(Rsv::NONE, tunnel::settings(), &ops);
    }
}
