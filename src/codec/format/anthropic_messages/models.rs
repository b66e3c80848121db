//! `GET /v1/models` as Anthropic answers it.

use crate::json::Writer;

/// `{"data":[…],"has_more":false,"first_id":…,"last_id":…}`
pub(super) fn write_list(names: &[&str], out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.open_object().key("data").open_array();
    for name in names {
        model(name, &mut json);
    }
    json.close_array().key("has_more").bool(false);
    for (key, name) in [("first_id", names.first()), ("last_id", names.last())] {
        json.key(key);
        match name {
            Some(name) => json.plain(name),
            None => json.null(),
        };
    }
    json.close_object();
}

/// One model.
pub(super) fn write_one(name: &str, out: &mut Vec<u8>) {
    model(name, &mut Writer::new(out));
}

/// `created_at` is required by the vendor's types; its documents say that an unknown date is the epoch.
fn model(name: &str, json: &mut Writer<'_>) {
    json.open_object().key("type").plain("model").key("id").plain(name);
    json.key("display_name").plain(name).key("created_at").plain("1970-01-01T00:00:00Z").close_object();
}

#[cfg(test)]
mod tests {
    #[test]
    fn lists_models() {
        let mut out = Vec::new();
        super::write_list(&["a"], &mut out);
        let expected = concat!(
            r#"{"data":[{"type":"model","id":"a","display_name":"a","created_at":"1970-01-01T00:00:00Z"}],"#,
            r#""has_more":false,"first_id":"a","last_id":"a"}"#
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
