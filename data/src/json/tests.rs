//! Keys of objects, numbers of Python, and what is no JSON.

use super::*;

fn text(text: &str) -> Option<Field<'_>> {
    Some(Field::Text(text.into()))
}

#[test]
fn wanted_keys_are_found_among_others() {
    let json = br#" {"n": [1, {"b": "no"}], "b": "x\u00e9\ud83d\ude00", "a": 1e3, "a": "last"} "#;
    assert_eq!(
        fields(json, ["a", "b", "c"]),
        Ok([text("last"), text("x\u{e9}\u{1f600}"), None])
    );
    let json = br#"{"a": [[]], "b": null, "c": ["x", {"raw": "y", "n": 1}]}"#;
    let [a, b, c] = fields(json, ["a", "b", "c"]).unwrap();
    assert_eq!(
        a.unwrap().texts(true),
        Err("a list of other things than texts")
    );
    assert_eq!(b, Some(Field::Other("null")));
    assert_eq!(c.unwrap().texts(false).unwrap(), ["x", "y"]);
}

#[test]
fn a_number_is_a_text_only_where_it_may_be_one() {
    let [a, b] = fields(br#"{"a": 7, "b": 7}"#, ["a", "b"]).unwrap();
    assert_eq!(a.unwrap().text(true).unwrap(), "7");
    assert_eq!(b.unwrap().text(false), Err("a number"));
}

#[test]
fn numbers_of_python_are_mended_outside_of_texts() {
    let mut json =
        br#"{"a": "NaN \" Infinity", "b": [NaN,-Infinity, Infinity], "c": NaN}"#.to_vec();
    mend(&mut json);
    assert_eq!(
        std::str::from_utf8(&json).unwrap(),
        r#"{"a": "NaN \" Infinity", "b": [0.0,-0.000000, 0.000000], "c": 0.0}"#
    );
    assert_eq!(
        fields(&json, ["c"]).unwrap(),
        [Some(Field::Number(Number::Float(0.0)))]
    );
    for odd in [&b"\"NaN"[..], b"\"NaN\\", b"NaN\"", b"Infinit", b"NaNaN"] {
        mend(&mut odd.to_vec());
    }
}

#[test]
fn a_fault_anywhere_is_a_fault_of_the_object() {
    let deep = format!("{{\"x\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let wanted = deep.replace('x', "a");
    for (json, message) in [
        ("", "expected a JSON object"),
        ("[]", "expected a JSON object"),
        ("\"text\"", "expected a JSON object"),
        ("{\"a\": \"cut", "EOF while parsing"),
        ("{\"a\": \"x\"} {}", "trailing characters"),
        ("{\"x\": \"\\ud800\"}", "hex escape"),
        (deep.as_str(), "recursion limit"),
        (wanted.as_str(), "recursion limit"),
    ] {
        let error = fields(json.as_bytes(), ["a"]).unwrap_err();
        assert!(error.contains(message), "{error}");
        assert!(error.len() < 200, "{error}");
    }
    assert!(fields(b"{\"x\": \"\xff\"}", ["a"]).is_err());
}

#[test]
fn keys_are_listed_once() {
    assert_eq!(
        keys(br#"{"b": 1, "a": {"c": 2}, "b": 3}"#).unwrap(),
        ["b", "a"]
    );
}
