//! JSON for a person: the same tokens in the same order, on indented lines.

/// Indents JSON without reading it into values, so that numbers, order and repeated keys stay as they are.
pub(super) fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut rest = json.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => {
                in_string = true;
                out.push(byte);
            }
            b'{' | b'[' => {
                out.push(byte);
                while rest.next_if(u8::is_ascii_whitespace).is_some() {}
                if let Some(close) = rest.next_if(|next| matches!(next, b'}' | b']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                new_line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            byte if byte.is_ascii_whitespace() => {}
            byte => out.push(byte),
        }
    }
    out
}

/// Deeper values are not indented further: a line shall not be longer than its document.
const DEEPEST: usize = 64;

fn new_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b' ', 2 * depth.min(DEEPEST)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_changes() {
        let json = br#"{"a":[1.50,{},[ ],"x\"{,:\\"],"b" : {"a":null, "a":true}}"#;
        let expect = "{\n  \"a\": [\n    1.50,\n    {},\n    [],\n    \"x\\\"{,:\\\\\"\n  ],\n  \"b\": {\n    \"a\": null,\n    \
                      \"a\": true\n  }\n}";
        assert_eq!(String::from_utf8(indent(json)).unwrap(), expect);
        assert_eq!(indent(&indent(json)), indent(json), "twice is the same as once");
        assert_eq!(indent(b"}]}{"), b"\n}\n]\n}{\n  ", "what is no JSON is no harm");
    }
}
