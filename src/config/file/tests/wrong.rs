//! What is told about a file that is wrong.

use super::{REST, pool, route, told};

/// That each of these files is told of, with its line and what would be right.
fn tells(rows: &[(String, &str)]) {
    for (text, part) in rows {
        let told = told(text);
        assert!(told.contains(part), "{text}\n{told}\n{part}");
    }
}

#[test]
fn a_key_that_is_none_or_is_missing_is_told() {
    tells(&[
        (
            pool("backend = [\"ws://x\"]"),
            "selat.toml:2: unknown key \"backend\" in [pool.chat]; did you mean \"backends\"?",
        ),
        (
            format!("{REST}[pools.x]\n"),
            "selat.toml:7: unknown key \"pools\" at the top; did you mean \"pool\"?",
        ),
        (
            route("pool = \"chat\"\nmessage = \"1MiB\""),
            "3: unknown key \"message\" in [route.chat]; did you mean \"limits.message\"?",
        ),
        (
            route("pool = \"chat\"\nlimits = { rates = \"1/s\" }"),
            "3: unknown key \"rates\" in [route.chat.limits]; did you mean \"rate\"?",
        ),
        (format!("{REST}[log]\ncolour = \"red\"\n"), "8: unknown key \"colour\" in [log]\n"),
        (
            pool("backends = [{ uri = \"ws://x\" }]"),
            "2: unknown key \"uri\" in [pool.chat.backends[0]]; did you mean \"url\"?",
        ),
        (
            pool("backends = [{ weight = 2 }]"),
            "2: [pool.chat.backends[0]]: url is missing; write url = \"ws://10.0.0.1:9001\"",
        ),
        (pool(""), "1: [pool.chat]: backends is missing; write backends = "),
    ]);
}

#[test]
fn a_value_without_its_unit_is_told() {
    tells(&[
        (
            route("pool = \"chat\"\ntimeouts.idle = 20"),
            "3: idle in [route.chat.timeouts]: 20 has no unit; write a duration in quotes, such as \"500ms\"",
        ),
        (
            route("pool = \"chat\"\ntimeouts.idle = \"20\""),
            "3: idle in [route.chat.timeouts]: \"20\" is not a duration; write a number with a unit",
        ),
        (
            route("pool = \"chat\"\nlimits.message = 1024"),
            "3: message in [route.chat.limits]: 1024 has no unit; write a size",
        ),
        (
            route("pool = \"chat\"\nlimits.rate = \"50\""),
            "3: rate in [route.chat.limits]: \"50\" is not a rate; write a whole number a second, such as 50/s",
        ),
        (route("pool = \"chat\"\nlimits.bytes = \"50/s\""), "is not a size per second"),
        (
            pool("backends = [\"ws://x\"]\npanic_below = 50"),
            "3: panic_below in [pool.chat]: 50 is not a share in percent; write \"50%\"",
        ),
        (pool("backends = [\"ws://x\"]\npanic_below = \"101%\""), "\"101%\" is not a share"),
    ]);
}

#[test]
fn a_value_of_another_type_or_out_of_bounds_is_told() {
    tells(&[
        (
            format!("{REST}[process]\nmax_connections = \"many\"\n"),
            "8: max_connections in [process]: \"many\" is not a whole number from 1",
        ),
        (
            format!("{REST}[process]\nmax_connections = 0\n"),
            "8: max_connections in [process]: 0 is not a whole number from 1",
        ),
        (format!("{REST}[process]\nmax_connections = -1\n"), "-1 is not a whole number"),
        (format!("{REST}[process]\nmax_connections = 4294967296\n"), "4294967296 is not a whole number"),
        (
            format!("{REST}[process]\nplacement = \"balance\"\n"),
            "8: placement in [process]: \"balance\" is not known here; did you mean \"balanced\"?; write \"kernel\" or \"balanced\"",
        ),
        (format!("{REST}[process]\ncores = \"a\"\n"), "\"a\" is not a list of cores"),
        (pool("backends = \"ws://x\""), "2: backends in [pool.chat]: \"ws://x\" is not a list"),
        (pool("backends = []"), "2: backends in [pool.chat]: there is no backend"),
        (
            pool("backends = [\"http://x\"]"),
            "2: backends[0] in [pool.chat]: \"http://x\" does not begin with ws://",
        ),
        (pool("backends = [1]"), "2: backends[0] in [pool.chat]: 1 is not a backend's URL, or a table"),
        (
            pool("backends = [{ url = \"ws://x\", weight = 0 }]"),
            "2: weight in [pool.chat.backends[0]]: 0 is not a whole number from 1 to 1000",
        ),
        (
            pool("backends = [\n\"ws://x\",\n\"ws://x:80/\",\n]"),
            "4: backends[1] in [pool.chat]: this backend is there already",
        ),
        (
            pool("backends = [\"ws://x\"]\nbalance = \"least-conections\""),
            "3: balance in [pool.chat]: \"least-conections\" is not a policy; did you mean \"least-connections\"?",
        ),
        (
            pool("backends = [\"ws://x\"]\nbalance = \"hash:header\""),
            "\"hash:header\" is not a hash policy; write hash:ip",
        ),
        (pool("backends = [\"ws://x\"]\nbalance = \"hash:ip:x\""), "is not a hash policy"),
        (
            "listen = 3\nroute = 4\n".to_owned(),
            "1: listen: 3 is not a table of named tables; write [listen.NAME]",
        ),
        ("listen.a = 3\n".to_owned(), "1: a in [listen]: is integer, not a table; write [listen.a]"),
        (format!("{REST}[pool.\"a b\"]\nbackends = [\"ws://x\"]\n"), "7: \"a b\" in [pool]: is not a name"),
    ]);
}

#[test]
fn a_name_that_leads_nowhere_is_told() {
    tells(&[
        (
            route("pool = \"chart\""),
            "2: pool in [route.chat]: there is no [pool.chart]; did you mean \"chat\"?",
        ),
        (
            route("pool = \"chat\"\nlisten = [\"pubic\"]"),
            "3: listen[0] in [route.chat]: there is no [listen.pubic]; did you mean \"public\"?",
        ),
        (route(""), "1: [route.chat]: there is nothing to do with a request"),
        (route("pool = \"chat\"\nrespond = \"echo\""), "3: respond in [route.chat]: there is a pool too"),
        (String::new(), "selat.toml:1: there is no route; write [route.all]"),
        (String::new(), "selat.toml:1: there is no listener; write [listen.public]"),
        (
            format!("{REST}[listen.b]\naddr = \":8765\"\n"),
            "8: addr in [listen.b]: [listen.public] has the same address",
        ),
        (
            format!("{REST}[admin]\naddr = \"[::]:8765\"\ntoken = \"${{TOKEN}}\"\n"),
            "8: addr in [admin]: [listen.public] has the same address",
        ),
    ]);
}

#[test]
fn a_malformed_pattern_is_told() {
    tells(&[
        (
            route("pool = \"chat\"\nhost = \"*example.com\""),
            "3: host in [route.chat]: \"*example.com\" is not a host",
        ),
        (route("pool = \"chat\"\npath = \"ws\""), "3: path in [route.chat]: \"ws\" is not a path"),
        (
            route("pool = \"chat\"\norigins = [\"example.com\"]"),
            "3: origins[0] in [route.chat]: \"example.com\" is not an origin",
        ),
        (
            route("pool = \"chat\"\nallow = [\"10.0.0.0/33\"]"),
            "3: allow[0] in [route.chat]: \"10.0.0.0/33\" is not an address or a network",
        ),
    ]);
}

#[test]
fn keys_that_do_not_go_together_are_told() {
    tells(&[
        (
            route("respond = {}\nallow = [\"10.0.0.0/8\"]"),
            "3: allow in [route.chat]: a fixed response is for everybody and as it stands; remove it",
        ),
        (
            route("respond = \"echo\"\nlimits = { rate = \"1/s\" }"),
            "3: limits in [route.chat]: selat itself, which answers here, does nothing with it; remove it",
        ),
        (route("respond = \"ecco\""), "2: respond in [route.chat]: \"ecco\" is not a responder"),
        (
            route("respond = { status = 204, body = \"x\" }"),
            "2: [route.chat.respond]: a response with status 204 has no body",
        ),
        (route("pool = \"chat\"\nping = {}"), "3: [route.chat.ping]: nobody is pinged"),
        (route("pool = \"chat\"\nping.client = {}"), "3: [route.chat.ping.client]: every is missing"),
        (
            route("pool = \"chat\"\nlimits.rate_burst = 3"),
            "3: rate_burst in [route.chat.limits]: there is no rate",
        ),
        (
            route("pool = \"chat\"\nrewrite = { strip = \"/a\", replace = \"/b\" }"),
            "3: replace in [route.chat.rewrite]: there is a strip",
        ),
        (
            route("pool = \"chat\"\nrewrite = { strip = \"a\" }"),
            "3: strip in [route.chat.rewrite]: \"a\" is not a path",
        ),
        (
            route("pool = \"chat\"\nrequest_headers.set = { Upgrade = \"x\" }"),
            "3: set.Upgrade in [route.chat.request_headers]: Upgrade belongs to the handshake",
        ),
        (
            pool("backends = [\"ws://x\"]\nhealth = { probe = \"tcp\", path = \"/x\" }"),
            "3: path in [pool.chat.health]: only a probe of kind http or websocket has it",
        ),
        (
            pool("backends = [\"ws://x\"]\nhealth = { probe = \"websocket\", send = \"x\" }"),
            "3: send in [pool.chat.health]: there is no expect",
        ),
        (
            pool("backends = [\"ws://x\"]\noutlier = { ejection_base = \"1h\" }"),
            "3: [pool.chat.outlier]: ejection_base is longer",
        ),
    ]);
}

#[test]
fn an_admission_that_could_not_work_is_told() {
    tells(&[
        (route("pool = \"chat\"\nauth = {}"), "3: [route.chat.auth]: kind is missing"),
        (route("pool = \"chat\"\nauth = { kind = \"key\" }"), "3: [route.chat.auth]: keys_file is missing"),
        (
            route("pool = \"chat\"\nauth = { kind = \"key\", keys_file = \"/run/nowhere\" }"),
            "3: keys_file in [route.chat.auth]: /run/nowhere: cannot be read: ",
        ),
        (
            route("pool = \"chat\"\nauth = { kind = \"key\", keys_file = \"keys\" }"),
            "\"keys\" does not begin with /",
        ),
        (
            route("pool = \"chat\"\nauth = { kind = \"key\", keys_file = \"/run/none\" }"),
            "/run/none: there is no entry in it",
        ),
        (
            route("pool = \"chat\"\nauth = { kind = \"key\", keys_file = \"/run/keys\", issuer = \"x\" }"),
            "3: issuer in [route.chat.auth]: kind = \"key\" has no such key",
        ),
        (
            route("pool = \"chat\"\nauth = { kind = \"jwt\", algorithm = \"none\", secret = \"${KEY}\" }"),
            "\"none\" is not an algorithm",
        ),
        (
            route("pool = \"chat\"\nauth = { kind = \"jwt\", algorithm = \"HS256\" }"),
            "exactly one of secret, public_key_file and jwks_file",
        ),
        (
            format!("{REST}[admin]\naddr = \"0.0.0.0:9765\"\n"),
            "8: addr in [admin]: other machines can reach this address, so there must be a token",
        ),
    ]);
}

#[test]
fn a_value_from_outside_that_is_not_there_is_told() {
    tells(&[
        (
            format!("{REST}[admin]\naddr = \"127.0.0.1:1\"\ntoken = \"hunter2\"\n"),
            "9: token in [admin]: a secret must not stand in the file; write \"${NAME}\"",
        ),
        (
            format!("{REST}[admin]\naddr = \"127.0.0.1:1\"\ntoken = \"${{NOBODY}}\"\n"),
            "9: token in [admin]: refers to the environment variable NOBODY, which is not set",
        ),
        (
            format!("{REST}[admin]\naddr = \"127.0.0.1:1\"\ntoken = \"${{EMPTY}}\"\n"),
            "9: token in [admin]: the environment variable that it refers to is empty",
        ),
        (
            format!("{REST}[admin]\naddr = \"127.0.0.1:1\"\ntoken = \"file:/run/none\"\n"),
            "9: token in [admin]: its file is empty",
        ),
        (
            format!("{REST}[admin]\naddr = \"${{TOKEN}}\"\n"),
            "8: addr in [admin]: what it refers to is not a listen address",
        ),
    ]);
}

#[test]
fn what_is_not_toml_is_told() {
    tells(&[
        (format!("{REST}[route.chat]\n"), "selat.toml:7: this is not TOML: "),
        ("[listen.public\n".to_owned(), "selat.toml:1: this is not TOML: "),
    ]);
}
