//! `hamp key` and `hamp authority`: the files they make, and those they refuse.

#[path = "netns/schema.rs"]
mod schema;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hamp::daemon::config::{Trust as Table, TrustMode};
use hamp::daemon::trust::{self, Keyring};
use serde_json::Value;

/// A directory of its own, removed with everything in it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hamp-keys-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn hamp(&self, arguments: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_hamp"))
            .current_dir(&self.0)
            .args(arguments.split_whitespace())
            .output()
            .unwrap()
    }

    fn ok(&self, arguments: &str) -> String {
        let output = self.hamp(arguments);
        assert!(output.status.success(), "{arguments}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &str) -> Value {
        let document = serde_json::from_str(&self.ok(&format!("{arguments} --json"))).unwrap();
        schema::check(&document).unwrap();
        document
    }

    /// What a command says that ends with `code`; it says nothing else.
    fn refused(&self, arguments: &str, code: i32) -> String {
        let output = self.hamp(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

const CERTIFY: &str = "authority certify --authority authority.key --key hamp.pub -o hamp.cert";

/// An authority, a key and its certificate.
fn equipped(name: &str) -> Place {
    let place = Place::new(name);
    place.ok("authority new authority.key");
    place.ok("key new hamp.key");
    place.ok(&format!(
        "{CERTIFY} --prefix 198.18.0.0/16 --prefix 2001:2:0:1546::1"
    ));
    place
}

fn table(place: &Place) -> Table {
    Table {
        mode: TrustMode::Enforce,
        key: Some(place.at("hamp.key")),
        certificate: Some(place.at("hamp.cert")),
        authorities: vec![place.at("authority.pub")],
        revoked: Vec::new(),
    }
}

#[test]
fn five_commands_make_an_authority_and_a_member() {
    let place = Place::new("five");
    let authority = place.json("authority new authority.key");
    assert_eq!(authority["owner"], "authority");
    assert_eq!(mode(&place.at("authority.key")), 0o600);
    let key = place.json("key new hamp.key");
    assert_eq!(mode(&place.at("hamp.key")), 0o600);
    assert_eq!(place.json("key show hamp.key")["id"], key["id"]);
    assert_eq!(place.json("key show hamp.pub")["id"], key["id"]);
    let certificate = place.json(&format!(
        "{CERTIFY} --role member,router --prefix 198.18.0.0/16 --prefix 198.19.0.1 --limit 5 --days 2"
    ));
    assert_eq!(certificate["member"], key["id"]);
    assert_eq!(certificate["authority"], authority["id"]);
    assert_eq!(
        certificate["roles"],
        serde_json::json!(["member", "router"])
    );
    assert_eq!(
        certificate["prefixes"],
        serde_json::json!(["198.18.0.0/16", "198.19.0.1"])
    );
    assert_eq!(
        (&certificate["limit"], &certificate["state"]),
        (&5.into(), &"valid".into())
    );
    let (from, until) = ("not_before_unix_ms", "not_after_unix_ms");
    let days = certificate[until].as_u64().unwrap() - certificate[from].as_u64().unwrap();
    assert_eq!(days, 2 * 86_400_000 + 3_600_000);
    let shown = place.json("authority show hamp.cert --authority authority.pub");
    assert_eq!(
        (&shown["serial"], &shown["signed"]),
        (&certificate["serial"], &true.into())
    );
    let table = Table {
        mode: TrustMode::Enforce,
        ..table(&place)
    };
    let keyring = Keyring::load(&table).unwrap();
    let member = keyring.credentials.unwrap().member();
    assert_eq!(format!("{member:#}"), key["id"]);
    let text = place.ok("authority show hamp.cert");
    assert!(text.contains("may be        member router\n"), "{text}");
    assert!(text.contains("may be at     any address"), "{text}");
    // Its own addresses may be named.
    let hosts = "--prefix 198.18.0.0/16 --host 10.15.46.1 --host 2001:db8::/64";
    let bound = place.json(&format!("{CERTIFY} {hosts}"));
    let expected = serde_json::json!(["10.15.46.1", "2001:db8::/64"]);
    assert_eq!(bound["hosts"], expected);
    assert_eq!(place.json("authority show hamp.cert")["hosts"], expected);
    let text = place.ok("authority show hamp.cert");
    assert!(
        text.contains("may be at     10.15.46.1 2001:db8::/64\n"),
        "{text}"
    );
    for (unusable, why) in [
        (
            "198.18.0.1",
            "--prefix 198.18.0.0/16 have addresses in common",
        ),
        ("198.0.0.0/8", "addresses in common"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("0.0.0.0/0", "name no host"),
        ("127.0.0.1", "loopback"),
        ("::", "name no host"),
        ("10.0.0.1 --host 10.0.0.1", "given twice"),
    ] {
        let told = place.refused(
            &format!("{CERTIFY} --prefix 198.18.0.0/16 --host {unusable}"),
            2,
        );
        assert!(told.contains(why), "{told}");
    }
    // A router needs no prefix, and a key can be given by its digits.
    let digits = key["public_key"].as_str().unwrap();
    let certify = CERTIFY.replace("hamp.pub", digits);
    let router = place.json(&format!("{certify} --role router"));
    assert_eq!(router["roles"], serde_json::json!(["router"]));
    assert_ne!(router["serial"], certificate["serial"]);
}

#[test]
fn no_key_is_written_over_and_no_private_one_is_shown() {
    let place = equipped("over");
    let before = fs::read_to_string(place.at("hamp.key")).unwrap();
    for again in ["key new hamp.key", "authority new hamp.key"] {
        assert!(place.refused(again, 1).contains("it exists"));
    }
    fs::remove_file(place.at("hamp.pub")).unwrap();
    assert!(place.refused("key new hamp.key", 1).contains("hamp.key"));
    assert!(!place.at("hamp.pub").exists(), "half of it is undone");
    // Not as a certificate or a list either.
    let certify = format!("{CERTIFY} --prefix 198.18.0.0/16").replace("hamp.pub", "authority.pub");
    assert!(place.refused(&certify, 78).contains("not a public key"));
    place.ok("key new other.key");
    let certify = format!("{CERTIFY} --prefix 198.18.0.0/16")
        .replace("hamp.pub", "other.pub")
        .replace("hamp.cert", "hamp.key");
    assert!(place.refused(&certify, 78).contains("not a certificate"));
    let revoke = "authority revoke --authority authority.key --list hamp.key 1";
    assert!(place.refused(revoke, 78).contains("not a revocation list"));
    assert_eq!(fs::read_to_string(place.at("hamp.key")).unwrap(), before);
    let secret = trust::key(&place.at("hamp.key")).unwrap();
    let digits: String = secret
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    for show in [
        "key show hamp.key",
        "authority show hamp.key",
        "authority show hamp.key --json",
    ] {
        let shown = place.ok(show);
        assert!(!shown.contains(&digits) && !shown.contains(before.lines().nth(1).unwrap()));
    }
}

#[test]
fn a_private_key_that_others_may_read_is_refused_with_the_remedy() {
    let place = equipped("modes");
    for (bits, good) in [
        (0o400, true),
        (0o640, false),
        (0o604, false),
        (0o660, false),
    ] {
        let permissions = Permissions::from_mode(bits);
        fs::set_permissions(place.at("hamp.key"), permissions.clone()).unwrap();
        fs::set_permissions(place.at("authority.key"), permissions).unwrap();
        let loaded = Keyring::load(&table(&place));
        assert_eq!(loaded.is_ok(), good, "{bits:o}");
        if good {
            continue;
        }
        let failure = loaded.unwrap_err().failure;
        assert_eq!(failure.code, 78);
        assert!(failure.message.contains("others may read"), "{failure}");
        assert!(failure.remedy.unwrap().starts_with("chmod 600 "));
        let said = place.refused(&format!("{CERTIFY} --prefix 198.18.0.0/16"), 78);
        assert!(said.contains("chmod 600 authority.key"), "{said}");
    }
}

#[test]
fn what_is_revoked_goes_on_a_list_that_grows() {
    let place = equipped("revoke");
    let serial = place.json("authority show hamp.cert")["serial"]
        .as_u64()
        .unwrap();
    let revoke = "authority revoke --authority authority.key --list revoked";
    let first = place.json(&format!("{revoke} 7 3 7"));
    assert_eq!(
        (&first["number"], &first["serials"]),
        (&1.into(), &serde_json::json!([3, 7]))
    );
    let second = place.json(&format!("{revoke} hamp.cert"));
    assert_eq!(second["number"], 2);
    let mut serials = vec![3, 7, serial];
    serials.sort_unstable();
    assert_eq!(second["serials"], serde_json::json!(serials));
    assert_eq!(
        place.json("authority show revoked --authority authority.pub")["number"],
        2
    );
    let mut table = table(&place);
    table.revoked = vec![place.at("revoked")];
    assert_eq!(Keyring::load(&table).unwrap().lists[0].number, 2);
    // Another authority neither extends it nor is taken for its author.
    place.ok("authority new other.key");
    let said = place.refused(
        &format!("{} 1", revoke.replace("authority.key", "other.key")),
        78,
    );
    assert!(said.contains("revoked: not a list"), "{said}");
    place.refused("authority show revoked --authority other.pub", 1);
    table.authorities = vec![place.at("other.pub")];
    let failure = Keyring::load(&table).unwrap_err().failure;
    assert!(
        failure.message.contains("not among trust.authorities"),
        "{failure}"
    );
}

#[test]
fn files_that_do_not_fit_are_named_with_what_they_are() {
    let place = equipped("fit");
    place.ok("key new other.key");
    let with = |change: &dyn Fn(&mut Table)| {
        let mut table = table(&place);
        change(&mut table);
        let failure = Keyring::load(&table).unwrap_err().failure;
        assert_eq!(failure.code, 78);
        failure.to_string()
    };
    let said = with(&|table| table.key = Some(place.at("other.key")));
    assert!(said.contains("hamp.cert: it is not for the key"), "{said}");
    let said = with(&|table| table.key = Some(place.at("hamp.pub")));
    assert!(
        said.contains("this is a public key, not a private key"),
        "{said}"
    );
    let said = with(&|table| table.certificate = Some(place.at("no.cert")));
    assert!(said.contains("no.cert: No such file"), "{said}");
    let said = with(&|table| table.authorities = vec![place.at("authority.key")]);
    assert!(said.contains("no other host may have"), "{said}");
    let said = with(&|table| table.authorities = vec![place.0.clone()]);
    assert!(said.contains("directory"), "{said}");
    // A damaged line is named.
    let text = fs::read_to_string(place.at("hamp.cert")).unwrap();
    let line = text.lines().nth(2).unwrap();
    fs::write(
        place.at("hamp.cert"),
        text.replace(line, &format!("{line}?")),
    )
    .unwrap();
    let said = with(&|_| {});
    assert!(said.contains("hamp.cert:3: '?'"), "{said}");
    fs::write(place.at("hamp.cert"), vec![0xff; 3 << 20]).unwrap();
    with(&|_| {});
}

#[test]
fn an_authority_does_not_say_what_makes_no_sense() {
    let place = equipped("sense");
    for (arguments, code, what) in [
        (CERTIFY.to_owned(), 2, "--prefix"),
        (
            format!("{CERTIFY} --prefix 198.18.0.1/16"),
            2,
            "198.18.0.0/16?",
        ),
        (
            format!("{CERTIFY} --prefix 198.18.0.1 --days 0"),
            2,
            "--days",
        ),
        (
            format!("{CERTIFY} --prefix 198.18.0.1 --role king"),
            2,
            "king",
        ),
        (
            format!("{CERTIFY}{}", " --prefix 198.18.0.1".repeat(17)),
            2,
            "16 times",
        ),
        (
            "authority revoke --authority authority.key --list l".to_owned(),
            2,
            "SERIAL",
        ),
        (
            "authority show hamp.pub --authority authority.pub".to_owned(),
            1,
            "nobody has signed",
        ),
        (
            "authority show nothing".to_owned(),
            78,
            "nothing: No such file",
        ),
    ] {
        let said = place.refused(&arguments, code);
        assert!(said.contains(what), "{arguments}: {said}");
    }
    assert!(!place.at("l").exists());
}

#[test]
fn a_pipe_keeps_nobody_waiting() {
    let place = Place::new("pipe");
    let made = Command::new("mkfifo").arg(place.at("pipe")).status();
    assert!(made.unwrap().success());
    for arguments in [
        &["authority", "show", "pipe"][..],
        &["key", "show", "pipe"],
        &["run", "--config", "pipe"],
    ] {
        let output = Command::new("timeout")
            .args(["20", env!("CARGO_BIN_EXE_hamp")])
            .args(arguments)
            .current_dir(&place.0)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {said}");
        assert!(said.contains("no regular file"), "{arguments:?}: {said}");
    }
}

#[test]
fn names_and_contents_of_files_do_not_command_a_terminal() {
    let place = Place::new("terminal");
    let said = place.refused("authority show no\u{1b}[31mpe", 78);
    assert!(said.contains("no\\u{1b}[31mpe: No such file"), "{said}");
    let text = "-----BEGIN \u{1b}[31mHAMP\u{7}-----\nAAAA\n";
    fs::write(place.at("strange"), text).unwrap();
    let said = place.refused("authority show strange", 78);
    assert!(!said.contains(['\u{1b}', '\u{7}']), "{said:?}");
    let said = place.ok("key new \u{1b}[31m.key");
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

const NODE: &str = "[node]\ninterfaces = [\"no-such0\"]\n[trust]\n";
const FILES: &str = "key = \"hamp.key\"\ncertificate = \"hamp.cert\"\n\
                     authorities = [\"authority.pub\"]\n";

#[test]
fn a_configuration_is_checked_with_all_that_it_names() {
    let place = equipped("check");
    fs::write(place.at("hamp.toml"), format!("{NODE}{FILES}")).unwrap();
    let told = place.json("config check hamp.toml");
    assert_eq!(told["trust"]["mode"], "enforce");
    assert!(told["trust"]["own"]["serial"].is_u64());
    let text = place.ok("config check hamp.toml");
    assert!(text.starts_with("hamp.toml: good\n"), "{text}");
    for warning in ["no role", "no interface no-such0 exists"] {
        assert!(text.contains(warning), "{text}");
    }
}

/// Every file that the configuration names, wrong in every way: the key that names it is told.
#[test]
fn what_is_wrong_with_a_file_is_told_with_the_key_that_names_it() {
    let place = equipped("named");
    fs::write(place.at("broken"), "-----BEGIN PGP-----\n").unwrap();
    fs::create_dir(place.at("directory")).unwrap();
    let good = [
        ("key", "hamp.key"),
        ("certificate", "hamp.cert"),
        ("authorities", "authority.pub"),
        ("revoked", "revoked"),
    ];
    for (line, (key, file)) in good.iter().enumerate() {
        for bad in ["absent", "broken", "directory", "authority.key", "hamp.pub"] {
            let files = format!("{FILES}revoked = [\"revoked\"]\n");
            let text = files.replace(&format!("\"{file}\""), &format!("\"{bad}\""));
            fs::write(place.at("hamp.toml"), format!("{NODE}{text}")).unwrap();
            let index = if line < 2 { "" } else { "[0]" };
            let told = format!("hamp: hamp.toml:{}: trust.{key}{index}: {bad}", line + 4);
            for command in ["config check hamp.toml", "run --config hamp.toml"] {
                // Without privileges, a start may find that out first.
                let output = place.hamp(command);
                if command.starts_with("run") && output.status.code() != Some(78) {
                    continue;
                }
                let said = place.refused(command, 78);
                assert!(said.starts_with(&told), "{told}\n{said}");
            }
        }
    }
}
