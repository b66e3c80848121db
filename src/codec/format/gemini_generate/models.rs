//! `GET /v1beta/models` as the vendor answers it.

use crate::json::Writer;

/// `{"models":[…]}`
pub(super) fn write_list(names: &[&str], out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.open_object().key("models").open_array();
    for name in names {
        model(name, &mut json);
    }
    json.close_array().close_object();
}

/// One model.
pub(super) fn write_one(name: &str, out: &mut Vec<u8>) {
    model(name, &mut Writer::new(out));
}

fn model(name: &str, json: &mut Writer<'_>) {
    json.open_object().key("name").plain(&format!("models/{name}")).key("version").plain("");
    json.key("displayName").plain(name).key("supportedGenerationMethods").open_array();
    json.plain("generateContent").plain("streamGenerateContent");
    json.close_array().close_object();
}

#[cfg(test)]
mod tests {
    #[test]
    fn lists_models() {
        let mut out = Vec::new();
        super::write_list(&["a"], &mut out);
        let expected = concat!(
            r#"{"models":[{"name":"models/a","version":"","displayName":"a","#,
            r#""supportedGenerationMethods":["generateContent","streamGenerateContent"]}]}"#
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
