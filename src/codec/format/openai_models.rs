//! `GET /v1/models` as `OpenAI` answers it.

use crate::json::Writer;

/// `{"object":"list","data":[…]}`
pub(super) fn write_list(names: &[&str], out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.open_object().key("object").plain("list");
    json.key("data").open_array();
    for name in names {
        model(name, &mut json);
    }
    json.close_array().close_object();
}

/// One model.
pub(super) fn write_one(name: &str, out: &mut Vec<u8>) {
    model(name, &mut Writer::new(out));
}

/// `created` is required by the vendor's types; the edge knows no date and says the first one.
fn model(name: &str, json: &mut Writer<'_>) {
    json.open_object().key("id").plain(name).key("object").plain("model");
    json.key("created").number(0).key("owned_by").plain("tidegate").close_object();
}

#[cfg(test)]
mod tests {
    #[test]
    fn lists_models() {
        let mut out = Vec::new();
        super::write_list(&["a\"b"], &mut out);
        let expected = r#"{"object":"list","data":[{"id":"a\"b","object":"model","created":0,"owned_by":"tidegate"}]}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
