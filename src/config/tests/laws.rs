//! What holds for every text: no panic, and no secret in what is said.

use super::*;
use proptest::prelude::*;

const MARKER: &str = "hunter2-Marker";

/// Pieces a job file is made of, in any order and with holes.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "[source]",
        "[target]",
        "[[account]]",
        "[account.source]",
        "[limits.host]",
        "[folders.rename]",
        "\n",
        "\n",
        "=",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"",
        "'",
        "host = \"a.example\"\n",
        "port = 1\n",
        "source = ",
        "target = ",
        "user = \"u\"",
        "password = ",
        "password = { env = \"A\" }",
        "token = ",
        "env = ",
        "sample = \"1%\"\n",
        "1",
        "-1",
        "1.5",
        "nan",
        "true",
        "1979-05-27",
        "#",
        "\\",
        "é",
        "\u{0}",
        "\r",
        "\u{feff}",
        ".",
        "accounts = \"a.csv\"\n",
        "order = ",
        "\"\"\"",
    ];
    prop_oneof![4 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

/// Ways to write a secret out, right and wrong; `@` stands for it.
const SECRETS: &[&str] = &[
    "password = \"@\"",
    "password = '@'",
    "password = @",
    "password = \"@",
    "password = [\"@\"]",
    "password = { env = \"$@\" }",
    "password = { @ = 1 }",
    "password = { env = [\"@\"] }",
    "password = \"@\\n\"",
    "password = \"@\\q\"",
    "password = \"@\", password = \"@\"",
    "password = \"@\", token = \"@\"",
    "pasword = \"@\"",
    "pass = \"@\"",
    "token = \"@\", admin = \"a\"",
    "token.x = \"@\"",
];

fn said(text: &str, files: &[(&str, &[u8])]) -> String {
    match read(text, files) {
        Ok(job) => job.warnings.join("\n"),
        Err(errors) => format!("{errors}\n{errors:?}"),
    }
}

#[test]
fn no_way_to_write_a_secret_shows_it() {
    for secret in SECRETS {
        let secret = secret.replace('@', MARKER);
        for text in [
            format!(
                "{SERVERS}[[account]]\nsource = {{ user = \"u\", {secret} }}\ntarget = {{ user = \"u\", {secret} }}\n"
            ),
            format!("{SERVERS}{secret}\n{ACCOUNT}"),
            format!("{secret}\n"),
            format!("{SERVERS}[[account]]\n{secret}\n"),
        ] {
            let said = said(&text, &[]);
            assert!(!said.contains(MARKER), "{text}\n{said}");
        }
    }
    assert_eq!(format!("{:?}", crate::auth::Secret::new(MARKER.to_owned())), "Secret(…)");
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = said(&text, &[("a.csv", text.as_bytes())]);
    }

    #[test]
    fn arbitrary_pieces_never_panic(pieces in proptest::collection::vec(piece(), 0..40)) {
        let text = pieces.concat();
        let _ = said(&text, &[("a.csv", text.as_bytes())]);
    }

    #[test]
    fn arbitrary_accounts_files_never_panic(table in "[a-z_,;\"\n\r\t ]{0,80}", bytes in any::<Vec<u8>>()) {
        let text = format!("accounts = \"a.csv\"\n{SERVERS}");
        let _ = said(&text, &[("a.csv", table.as_bytes())]);
        let _ = said(&text, &[("a.csv", &bytes)]);
        let table = format!("source_user,source_password,target_user,target_password\n{table}");
        let _ = said(&text, &[("a.csv", table.as_bytes())]);
    }

    #[test]
    fn a_secret_is_in_no_error_whatever_surrounds_it(
        before in proptest::collection::vec(piece(), 0..12),
        secret in proptest::sample::select(SECRETS.to_vec()),
        after in proptest::collection::vec(piece(), 0..12),
    ) {
        let text = format!("{SERVERS}{}{}{}", before.concat(), secret.replace('@', MARKER), after.concat());
        let said = said(&text, &[]);
        prop_assert!(!said.contains(MARKER), "{text}\n{said}");
    }

    #[test]
    fn a_secret_of_an_accounts_file_is_in_no_error(
        header in proptest::sample::select(vec![
            "source_user,source_password,target_user,target_password",
            "source_user;source_password;target_user;target_password",
            "source_user,source_pasword,target_user,target_password",
            "source_user,source_password,source_password_env,target_user",
        ]),
        row in "[a-z,;\" \n\t]{0,12}",
    ) {
        let text = format!("accounts = \"a.csv\"\n{SERVERS}");
        for table in [
            format!("{header}\n{row}{MARKER}{row}"),
            format!("{header}\nu,{MARKER},v,{MARKER}\n{row}"),
            format!("{MARKER},{MARKER}{row}\n{header}"),
            format!("{header},{MARKER}\n{row}"),
        ] {
            let said = said(&text, &[("a.csv", table.as_bytes())]);
            prop_assert!(!said.contains(MARKER), "{table}\n{said}");
        }
    }
}
