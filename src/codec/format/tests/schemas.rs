//! Schemas of tools and answers, in another format than their own.

use serde_json::{Value, json};

use super::crossings::{sent, translated};
use crate::Format;
use crate::format::Facts;
use crate::hub::Field;

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

/// A request of `from` with one function `f` whose arguments `schema` describes.
fn with_tool(from: Format, schema: &Value, strict: bool) -> Value {
    let user = json!([{"role": "user", "content": "q"}]);
    let function = json!({"name": "f", "parameters": schema, "strict": strict});
    match from {
        A => json!({"model": "m", "max_tokens": 99, "messages": user,
            "tools": [{"name": "f", "input_schema": schema, "strict": strict}]}),
        G => json!({"contents": [{"parts": [{"text": "q"}]}],
            "tools": [{"functionDeclarations": [{"name": "f", "parameters": schema}]}]}),
        C => json!({"model": "m", "messages": user, "tools": [{"type": "function", "function": function}]}),
        R => {
            let flat = json!({"type": "function", "name": "f", "parameters": schema, "strict": strict});
            json!({"model": "m", "input": user, "tools": [flat]})
        }
    }
}

/// The function of a request as it is sent to `to`, the losses beside it.
fn tool(way: (Format, Format), schema: &Value, strict: bool, facts: &Facts) -> (Value, String) {
    let (body, lost) = sent(way, &with_tool(way.0, schema, strict), facts).unwrap();
    let at = match way.1 {
        C => "/tools/0/function",
        G => "/tools/0/functionDeclarations/0",
        A | R => "/tools/0",
    };
    (body.pointer(at).unwrap_or_else(|| panic!("{body}")).clone(), lost)
}

fn old() -> Facts {
    Facts { json_schema: false, ..Facts::default() }
}

/// The arguments of a chat client's function in the dialect of Gemini's older models.
fn dialect(schema: &Value) -> (Value, String) {
    let (function, lost) = tool((C, G), schema, false, &old());
    (function["parameters"].clone(), lost)
}

#[test]
fn a_schema_with_a_property_that_may_lack_is_not_held_to() {
    let schema = |more: Value| {
        json!({"type": "object", "properties": {"a": {"type": "string"}, "b": more},
        "required": ["a"], "additionalProperties": false})
    };
    let mut all = schema(json!({"type": "string"}));
    all["required"] = json!(["b", "a"]);
    let mut free = all.clone();
    free["additionalProperties"] = json!({"type": "string"});
    let mut map = all.clone();
    map["properties"]["b"] = json!({"type": "array", "items": {"type": "object", "additionalProperties": {}}});
    let named = json!({"type": "object", "properties": {"properties": {"type": "string"}},
        "required": ["properties"], "additionalProperties": false});
    for (schema, held) in [(schema(json!({})), false), (free, false), (map, false), (all, true), (named, true)] {
        for to in [C, R] {
            let (function, lost) = tool((A, to), &schema, true, &Facts::default());
            assert_eq!(function["strict"], json!(held), "{to:?} {schema}");
            assert_eq!(function["parameters"], schema, "{to:?}");
            assert_eq!(lost, if held { "" } else { "converted:/tools/0" }, "{to:?} {schema}");
        }
    }
}

/// Twelve schemas of six references each to the next one: 2 GB, written out.
fn bomb() -> Value {
    let mut all = json!({"D12": {"type": "string"}});
    for at in 0..12 {
        let next = json!({"$ref": format!("#/$defs/D{}", at + 1)});
        let names = ["a", "b", "c", "d", "e", "f"].map(|name| (name.to_owned(), next.clone()));
        all[format!("D{at}")] = json!({"type": "object", "properties": serde_json::Map::from_iter(names)});
    }
    json!({"type": "object", "properties": {"r": {"$ref": "#/$defs/D0"}}, "$defs": all})
}

#[test]
fn what_schemas_refer_to_has_one_room_in_a_request() {
    let (mut shared, mut all_of) = (bomb(), bomb());
    let def = shared["$defs"]["D0"].clone();
    shared["properties"]["r"] = json!({"$ref": "#/$defs/D0", "description": "sib"});
    for at in 0..100 {
        let many: Vec<Value> = (0..60).map(|n| json!({"$ref": format!("#/$defs/D{}", n % 12)})).collect();
        all_of["properties"][format!("p{at}")] = json!({"type": "object", "allOf": many});
    }
    all_of["$defs"]["D12"] = def;
    let recursive = json!({"type": "object", "properties": {"n": {"$ref": "#", "description": "sib"}}});
    for schema in [bomb(), shared, all_of, recursive] {
        let mut body = with_tool(C, &schema, false);
        let small =
            json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/s"}}, "$defs": {"s": {"type": "string"}}});
        let mut tools: Vec<Value> = (0..8).map(|_| body["tools"][0].clone()).collect();
        tools.push(with_tool(C, &small, false)["tools"][0].clone());
        for (at, tool) in tools.iter_mut().enumerate() {
            tool["function"]["name"] = json!(format!("f{at}"));
        }
        body["tools"] = json!(tools);
        let (written, lost) = sent((C, G), &body, &old()).unwrap();
        let length = written.to_string().len();
        assert!(length < (1 << 20) + 3 * body.to_string().len(), "{length}");
        assert!(lost.contains("converted:/tools/0/function"), "{lost}");
        // One that takes much leaves something to those behind it.
        let last = &written["tools"][0]["functionDeclarations"][8]["parameters"];
        assert_eq!(last["properties"]["a"]["type"], "STRING", "{last}");
    }
}

#[test]
fn a_reference_that_is_not_followed_says_what_it_is_of() {
    let schema = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/t"}}, "$defs":
        {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}});
    let (written, lost) = dialect(&schema);
    let mut inner = &written["properties"]["a"];
    let mut levels = 0;
    while inner["items"].is_object() {
        assert_eq!(inner["type"], "ARRAY", "{written}");
        (inner, levels) = (&inner["items"], levels + 1);
    }
    assert_eq!((inner, levels), (&json!({"type": "STRING"}), 3), "{written}");
    assert!(lost.contains("converted:/tools/0"), "{lost}");
    let (written, _) = dialect(&json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}));
    assert_eq!(written["properties"]["a"], json!({"type": "OBJECT"}));
    let deep = json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"$ref": "#/properties/a"}}});
    assert_eq!(dialect(&deep).0["properties"]["b"], json!({"type": "INTEGER"}));
}

#[test]
fn words_beside_a_reference_stand() {
    let definitions = json!({"T": {"type": "string", "description": "own", "title": "T"}});
    for (property, expected) in [
        (
            json!({"$ref": "#/$defs/T", "description": "sib"}),
            json!({"type": "STRING", "description": "sib", "title": "T"}),
        ),
        (json!({"$ref": "#/$defs/T"}), json!({"type": "STRING", "description": "own", "title": "T"})),
        (
            json!({"description": "sib", "allOf": [{"$ref": "#/$defs/T"}]}),
            json!({"type": "STRING", "description": "sib", "title": "T"}),
        ),
        (json!({"$ref": "#/$defs/none", "description": "sib"}), json!({"type": "OBJECT", "description": "sib"})),
        (
            json!({"allOf": [{"$ref": "#/$defs/T"}], "enum": ["a"]}),
            json!({"type": "STRING", "enum": ["a"], "description": "own", "title": "T"}),
        ),
    ] {
        let schema = json!({"type": "object", "properties": {"t": property}, "$defs": definitions});
        assert_eq!(dialect(&schema).0["properties"]["t"], expected, "{property}");
    }
}

#[test]
fn the_dialect_has_no_empty_word_no_list_of_nothing_and_no_empty_object() {
    for (property, expected, lost) in [
        (
            json!({"type": "string", "enum": ["", "x"]}),
            json!({"type": "STRING", "description": "one of [\"\",\"x\"]"}),
            true,
        ),
        (json!({"type": "array"}), json!({"type": "ARRAY", "items": {"type": "STRING"}}), true),
        (
            json!({"type": "array", "items": true}),
            json!({"type": "ARRAY", "items": {"type": "STRING"}, "description": "items: true"}),
            true,
        ),
        (json!({"type": "object", "properties": {}}), json!({"type": "OBJECT"}), false),
        (json!({"type": "string", "enum": ["x"]}), json!({"type": "STRING", "enum": ["x"]}), false),
    ] {
        let (written, told) = dialect(&json!({"type": "object", "properties": {"a": property}}));
        assert_eq!(written["properties"]["a"], expected, "{property}");
        assert_eq!(told.contains("converted:/tools/0"), lost, "{property}: {told}");
    }
}

#[test]
fn types_by_their_numbers_are_read() {
    let own = json!({"type": 6, "properties": {"l": {"type": 5, "items": {"type": 1}}, "i": {"type": 3, "nullable": true},
        "n": {"type": 2.0}, "b": {"type": 4}, "z": {"type": 7}, "u": {"type": 0}}});
    let expected = json!({"type": "object", "properties": {"l": {"type": "array", "items": {"type": "string"}},
        "i": {"type": ["integer", "null"]}, "n": {"type": "number"}, "b": {"type": "boolean"}, "z": {"type": "null"}, "u": {}}});
    for (to, key) in [(C, "parameters"), (R, "parameters"), (A, "input_schema")] {
        let (function, lost) = tool((G, to), &own, false, &Facts::default());
        assert_eq!((&function[key], lost.contains("/tools")), (&expected, false), "{to:?} {lost}");
    }
    let body = json!({"contents": [{"parts": [{"text": "q"}]}],
        "generationConfig": {"responseMimeType": "application/json", "responseSchema": own}});
    let (body, _) = sent((G, C), &body, &Facts::default()).unwrap();
    assert_eq!(body["response_format"]["json_schema"]["schema"], expected);
}

#[test]
fn definitions_of_the_dialect_are_those_of_json_schema() {
    for (defs, to) in [("defs", "#/defs/T"), ("defs", "#/$defs/T"), ("$defs", "#/$defs/T")] {
        let reference = if defs == "defs" { "ref" } else { "$ref" };
        let own = json!({"type": "OBJECT", defs: {"T": {"type": "STRING"}},
            "properties": {"a": {reference: to}, "ref": {"type": "STRING"}}});
        let (function, _) = tool((G, C), &own, false, &Facts::default());
        let expected = json!({"type": "object", "$defs": {"T": {"type": "string"}},
            "properties": {"a": {"$ref": "#/$defs/T"}, "ref": {"type": "string"}}});
        assert_eq!(function["parameters"], expected);
    }
}

#[test]
fn what_the_dialect_leaves_unset_is_not_said() {
    let own = json!({"type": "OBJECT", "nullable": null, "properties": {"a": {"type": "STRING", "description": null,
        "enum": null, "items": null, "example": null, "format": null, "default": null}}});
    let (function, _) = tool((G, C), &own, false, &Facts::default());
    let expected = json!({"type": "object", "properties": {"a": {"type": "string", "default": null}}});
    assert_eq!(function["parameters"], expected);
}

#[test]
fn arguments_are_an_object_and_never_nothing() {
    let own = json!({"type": "OBJECT", "nullable": true, "properties": {"x": {"type": "STRING", "nullable": true}}});
    let expected = json!({"type": "object", "properties": {"x": {"type": ["string", "null"]}}});
    for (to, key) in [(C, "parameters"), (R, "parameters"), (A, "input_schema")] {
        let (function, lost) = tool((G, to), &own, false, &Facts::default());
        assert_eq!((&function[key], lost.contains("/tools")), (&expected, false), "{to:?} {lost}");
    }
}

#[test]
fn a_strict_function_without_parameters_has_a_closed_schema() {
    let closed = json!({"type": "object", "properties": {}, "required": [], "additionalProperties": false});
    let (function, lost) = tool((C, R), &Value::Null, true, &Facts::default());
    assert_eq!((&function["parameters"], &function["strict"], lost.as_str()), (&closed, &json!(true), ""));
    let (function, _) = tool((C, R), &Value::Null, false, &Facts::default());
    assert_eq!(function["parameters"], json!({"type": "object", "properties": {}}));
}

#[test]
fn json_by_a_schema_that_is_not_there_is_some_object() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "q, in JSON"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "s"}}});
    let (to_responses, lost) = sent((C, R), &body, &Facts::default()).unwrap();
    assert_eq!((&to_responses["text"], lost.as_str()), (&json!({"format": {"type": "json_object"}}), ""));
    let (to_gemini, lost) = sent((C, G), &body, &Facts::default()).unwrap();
    let config = json!({"responseMimeType": "application/json"});
    assert_eq!((&to_gemini["generationConfig"], lost.as_str()), (&config, ""));
    let (to_messages, lost) = sent((C, A), &body, &Facts::default()).unwrap();
    assert!(to_messages["system"].to_string().contains("JSON"), "{to_messages}");
    assert!(lost.contains("converted:/response_format"), "{lost}");
    let (own, lost) = sent((C, C), &body, &Facts::default()).unwrap();
    assert_eq!((&own["response_format"], lost.as_str()), (&body["response_format"], ""));
}

#[test]
fn an_answer_of_open_objects_is_no_silent_loss() {
    let closed = |more: Value| {
        let mut schema = json!({"type": "object", "properties": {"a": {"type": "object"}}});
        schema["properties"]["a"]["additionalProperties"] = more.clone();
        schema["additionalProperties"] = more;
        schema
    };
    for open in [json!(true), json!({}), json!({"type": "string"})] {
        let config = json!({"responseMimeType": "application/json", "responseJsonSchema": closed(open.clone())});
        let gemini = json!({"contents": [{"parts": [{"text": "q"}]}], "generationConfig": config});
        let named = json!({"name": "s", "schema": closed(open.clone())});
        let chat = json!({"model": "m", "messages": [{"role": "user", "content": "q"}],
            "response_format": {"type": "json_schema", "json_schema": named}});
        for (from, body, place) in
            [(G, gemini, "converted:/generationConfig/responseJsonSchema"), (C, chat, "converted:/response_format")]
        {
            let (written, lost) = sent((from, A), &body, &Facts::default()).unwrap();
            assert_eq!(written["tools"][0]["input_schema"], closed(open.clone()), "by a function: {written}");
            assert_eq!(written["output_config"]["format"], Value::Null);
            assert!(lost.contains(place), "{lost}");
        }
        // A call can be made as it is meant where nothing holds it.
        let (function, lost) = tool((C, A), &closed(open.clone()), true, &Facts::default());
        assert_eq!((&function["input_schema"], &function["strict"]), (&closed(open), &json!(null)));
        assert!(lost.contains("converted:/tools/0"), "{lost}");
    }
    let (function, lost) = tool((C, A), &closed(json!(false)), true, &Facts::default());
    assert_eq!((&function["strict"], lost.contains("/tools")), (&json!(true), false), "{lost}");
}

#[test]
fn arguments_are_one_object_and_no_choice() {
    let branch = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]});
    for key in ["anyOf", "oneOf", "allOf"] {
        for from in [C, G] {
            for (to, name) in [(A, "input_schema"), (C, "parameters"), (R, "parameters")] {
                if from == to {
                    continue;
                }
                let (function, lost) = tool((from, to), &json!({key: [branch]}), false, &Facts::default());
                let schema = &function[name];
                assert_eq!((&schema["type"], schema.get(key)), (&json!("object"), None), "{to:?} {schema}");
                assert_eq!((&schema["properties"], &schema["required"]), (&branch["properties"], &json!(["a"])));
                assert!(schema["description"].as_str().unwrap().contains(key), "{schema}");
                assert!(lost.contains("converted:/tools/0"), "{lost}");
            }
        }
        let (own, lost) = tool((C, C), &json!({key: [branch]}), false, &Facts::default());
        assert_eq!((&own["parameters"], lost.as_str()), (&json!({key: [branch]}), ""));
    }
    let standard = json!({"contents": [{"parts": [{"text": "q"}]}], "tools": [{"functionDeclarations":
        [{"name": "f", "parametersJsonSchema": {"type": ["object", "null"], "properties": {}}}]}]});
    let (written, lost) = sent((G, C), &standard, &Facts::default()).unwrap();
    let expected = json!({"type": "object", "properties": {}});
    assert_eq!((&written["tools"][0]["function"]["parameters"], lost.is_empty()), (&expected, false));
}

#[test]
fn a_choice_whose_arguments_are_gathered_is_held_to_and_no_other() {
    let definitions = json!({"B": {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"],
        "additionalProperties": false}, "C": {"$ref": "#/$defs/B"}});
    let own = json!({"properties": {"a": {"type": "string"}}, "required": ["a"]});
    let mut schema = json!({"anyOf": [{"allOf": [{"$ref": "#/$defs/B"}, own]}, {"$ref": "#/$defs/C"}],
        "$defs": definitions});
    let both = json!({"b": {"type": "string"}, "a": {"type": "string"}});
    let (function, lost) = tool((C, A), &schema, true, &Facts::default());
    assert_eq!((&function["input_schema"]["properties"], &function["strict"]), (&both, &json!(true)), "{lost}");
    let named = json!({"$ref": "#/$defs/B", "$defs": schema["$defs"]});
    let (function, lost) = tool((C, A), &named, true, &Facts::default());
    assert_eq!((&function["input_schema"]["additionalProperties"], &function["strict"]), (&json!(null), &json!(null)));
    assert!(lost.contains("converted:/tools/0"), "{lost}");
    schema["anyOf"][1]["$ref"] = json!("#/$defs/none");
    schema["additionalProperties"] = json!(false);
    for (way, key, strict) in [((C, A), "input_schema", json!(null)), ((A, C), "parameters", json!(false))] {
        let (function, lost) = tool(way, &schema, true, &Facts::default());
        assert_eq!((&function[key]["additionalProperties"], &function["strict"]), (&json!(true), &strict), "{way:?}");
        assert!(lost.contains("converted:/tools/0"), "{lost}");
    }
}

#[test]
fn a_type_that_is_none_is_not_written_for_each_reference_to_it() {
    let references = (0..200).map(|n| (format!("p{n}"), json!({"$ref": "#/$defs/x"})));
    let schema = json!({"type": "object", "properties": references.collect::<serde_json::Map<_, _>>(),
        "$defs": {"x": {"type": "a".repeat(20_000)}}});
    let (written, lost) = dialect(&schema);
    assert_eq!(written["properties"]["p199"], json!({"type": "OBJECT"}));
    assert!(written.to_string().len() < 400_000 && lost.contains("converted:/tools/0"), "{lost}");
}

#[test]
fn a_bound_that_is_no_number_is_left_out_and_told_of() {
    let own = json!({"type": "OBJECT", "properties": {"a": {"type": "ARRAY", "items": {}, "minItems": "abc", "maxItems": "7"}}});
    let expected = json!({"type": "object", "properties": {"a": {"type": "array", "items": {}, "maxItems": 7}}});
    for (to, key) in [(C, "parameters"), (R, "parameters"), (A, "input_schema")] {
        let (function, lost) = tool((G, to), &own, false, &Facts::default());
        assert_eq!(function[key], expected, "{to:?}");
        assert!(lost.contains("dropped:/tools/0/functionDeclarations/0/parameters"), "{to:?} {lost}");
    }
    let (again, lost) = sent((G, G), &with_tool(G, &own, false), &Facts::default()).unwrap();
    assert_eq!(again["tools"][0]["functionDeclarations"][0], json!({"name": "f", "parametersJsonSchema": expected}));
    assert_eq!(lost, "dropped:/tools/0/functionDeclarations/0/parameters");
    let body = json!({"contents": [{"parts": [{"text": "q"}]}],
        "generationConfig": {"responseMimeType": "application/json", "responseSchema": own}});
    let (body, lost) = sent((G, C), &body, &Facts::default()).unwrap();
    assert_eq!(body["response_format"]["json_schema"]["schema"], expected);
    assert_eq!(lost, "dropped:/generationConfig/responseSchema, converted:/generationConfig/responseSchema");
}

/// A request of `from` for an answer by `schema`; `strict` where its format has a word for it.
fn with_answer(from: Format, schema: &Value, strict: &Value) -> Value {
    let user = json!([{"role": "user", "content": "q"}]);
    match from {
        A => json!({"model": "m", "max_tokens": 99, "messages": user,
            "output_config": {"format": {"type": "json_schema", "schema": schema}}}),
        G => json!({"contents": [{"parts": [{"text": "q"}]}],
            "generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": schema}}),
        C => json!({"model": "m", "messages": user, "response_format":
            {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": strict}}}),
        R => json!({"model": "m", "input": user, "text":
            {"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": strict}}}),
    }
}

#[test]
fn an_answer_that_is_always_held_to_its_schema_is_held_to_it_elsewhere() {
    let closed = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"],
        "additionalProperties": false});
    let mut open = closed.clone();
    open["required"] = json!([]);
    let mut named = closed.clone();
    named["properties"]["a"]["format"] = json!("uri");
    let told = |way: (Format, Format), schema: &Value, said: &Value, facts: &Facts| {
        let request = translated(way, &with_answer(way.0, schema, said), facts, None).unwrap().outgoing;
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let form = body.pointer(if way.1 == C { "/response_format/json_schema" } else { "/text/format" }).unwrap();
        assert_eq!(&form["schema"], schema, "{way:?}");
        (form.get("strict").cloned(), request.losses)
    };
    let strict = |way, schema: &Value, said: &Value| told(way, schema, said, &Facts::default());
    let compatible = Facts { compatible_extensions: true, ..Facts::default() };
    for (from, place) in [(A, "/output_config/format"), (G, "/generationConfig/responseJsonSchema")] {
        for to in [C, R] {
            for schema in [&closed, &open] {
                let (sent, losses) = told((from, to), schema, &Value::Null, &compatible);
                assert_eq!((sent, losses.is_empty()), (None, true), "{from:?} {to:?}: another maker's server");
            }
            let (sent, losses) = strict((from, to), &closed, &Value::Null);
            assert_eq!((sent, losses.header(4096).as_str()), (Some(json!(true)), ""), "{from:?} {to:?}");
            for schema in [&open, &named] {
                let (sent, losses) = strict((from, to), schema, &Value::Null);
                let lost = format!("converted:{place}");
                assert_eq!((sent, losses.header(4096)), (None, lost), "{from:?} {to:?} {schema}");
                assert!(losses.iter().all(|loss| loss.field == Field::Strict), "{losses:?}");
            }
        }
    }
    // In these two it is the client's own word.
    for way in [(C, R), (R, C)] {
        for said in [json!(true), json!(false), Value::Null] {
            let (sent, losses) = strict(way, &open, &said);
            assert_eq!((sent.unwrap_or_default(), losses.is_empty()), (said, true), "{way:?}");
        }
    }
}

#[test]
fn a_schema_that_refers_to_itself_holds_no_answer_and_no_call_of_messages() {
    let kids = json!({"type": "array", "items": {"$ref": "#"}});
    let tree = json!({"type": "object", "properties": {"kids": kids}, "required": ["kids"],
        "additionalProperties": false});
    let unforced = Facts { forced_tool: false, ..Facts::default() };
    for (from, place) in [(C, "/response_format"), (R, "/text/format"), (G, "/generationConfig/responseJsonSchema")] {
        let mut asked = with_answer(from, &tree, &json!(true));
        let (body, lost) = sent((from, A), &asked, &Facts::default()).unwrap();
        assert_eq!((body.get("output_config"), &body["tools"][0]["input_schema"]), (None, &tree), "{from:?}");
        assert_eq!(body["tool_choice"]["name"], body["tools"][0]["name"], "{from:?}");
        assert!(lost.contains(&format!("converted:{place}")), "{from:?} {lost}");
        let words = |asked: &Value, facts: &Facts| {
            let (body, lost) = sent((from, A), asked, facts).unwrap();
            assert_eq!((body.get("output_config"), body.get("tool_choice")), (None, None), "{from:?}");
            assert!(body["system"].to_string().contains("$ref"), "{from:?} {body}");
            assert!(lost.contains(&format!("converted:{place}")), "{from:?} {lost}");
        };
        words(&asked, &unforced);
        asked["tools"] = with_tool(from, &json!({"type": "object", "properties": {}}), false)["tools"].clone();
        words(&asked, &Facts::default());
    }
    for from in [C, R] {
        let (function, lost) = tool((from, A), &tree, true, &Facts::default());
        assert_eq!((&function["input_schema"], &function["strict"]), (&tree, &json!(null)), "{from:?}");
        assert!(lost.contains("converted:/tools/0"), "{from:?} {lost}");
    }
    // A client of the format hears its own vendor's word.
    let own = with_answer(A, &tree, &Value::Null);
    let (body, lost) = sent((A, A), &own, &Facts::default()).unwrap();
    assert_eq!((&body["output_config"], lost.as_str()), (&own["output_config"], ""));
    assert_eq!(tool((A, A), &tree, true, &Facts::default()).0["strict"], json!(true));
}

#[test]
fn keywords_that_messages_refuse_are_told_where_a_schema_is_held_to() {
    let choice = |key: &str| json!({key: [{"type": "string"}, {"type": "null"}]});
    let schema = |inner: Value| json!({"type": "object", "properties": {"a": inner}, "required": ["a"], "additionalProperties": false});
    let not = json!({"type": "string", "not": {"const": "a"}});
    let told = json!({"type": "string", "description": "Must be valid by {\"not\":{\"const\":\"a\"}}."});
    for (inner, expected) in [(choice("oneOf"), choice("anyOf")), (not, told)] {
        let (given, expected) = (schema(inner), schema(expected));
        for (from, place) in [(C, "/response_format"), (R, "/text/format"), (G, "/generationConfig/responseJsonSchema")]
        {
            let asked = with_answer(from, &given, &Value::Null);
            let request = translated((from, A), &asked, &Facts::default(), None).unwrap().outgoing;
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(body["output_config"]["format"]["schema"], expected, "{from:?}");
            assert!(request.losses.header(4096).starts_with(&format!("converted:{place}")), "{from:?}");
            let reasons: Vec<_> = request
                .losses
                .iter()
                .map(|loss| loss.reason.contains("refused") || loss.reason.contains("anyOf"))
                .collect();
            assert!(reasons.contains(&true), "{:?}", request.losses);
        }
        let (function, lost) = tool((C, A), &given, true, &Facts::default());
        assert_eq!((&function["input_schema"], &function["strict"]), (&expected, &json!(true)));
        assert!(lost.contains("converted:/tools/0"), "{lost}");
        assert_eq!(tool((C, A), &given, false, &Facts::default()).0["input_schema"], given);
        // A client of the format hears its own vendor's word.
        let own = with_answer(A, &given, &Value::Null);
        assert_eq!(sent((A, A), &own, &Facts::default()).unwrap().0["output_config"], own["output_config"]);
    }
}

#[test]
fn an_answer_that_is_no_object_is_asked_of_an_older_claude_in_words() {
    let old = Facts { structured: false, ..Facts::default() };
    let list = json!({"type": "array", "items": {"type": "string"}});
    let object = json!({"type": "object", "properties": {"a": list}});
    for (from, place) in [(C, "/response_format"), (R, "/text/format"), (G, "/generationConfig/responseJsonSchema")] {
        for schema in [&list, &json!({"type": "string", "enum": ["a", "b"]}), &json!({"anyOf": [object, list]})] {
            let (body, lost) = sent((from, A), &with_answer(from, schema, &Value::Null), &old).unwrap();
            assert_eq!((body.get("tools"), body.get("tool_choice")), (None, None), "{from:?} {schema}");
            let said = body["system"][0]["text"].as_str().unwrap();
            assert!(said.contains(&schema.to_string()) && !said.contains("JSON object"), "{said}");
            assert!(lost.starts_with(&format!("converted:{place}")), "{from:?} {schema}: {lost}");
        }
        let (body, _) = sent((from, A), &with_answer(from, &object, &Value::Null), &old).unwrap();
        assert_eq!(body["tools"][0]["input_schema"], object, "{from:?}");
    }
}

#[test]
fn what_gemini_does_not_read_in_the_schema_of_an_answer_is_said_or_told() {
    let given =
        json!({"type": "object", "properties": {"k": {"const": "a"}, "p": {"type": "string", "pattern": "^a$"}}});
    let expected = json!({"type": "object", "properties": {"k": {"type": "string", "enum": ["a"]},
        "p": {"type": "string", "description": "pattern: \"^a$\""}}});
    let alike = json!({"type": "object", "properties": {"k": {"const": "a"}}});
    for (from, place) in [(C, "/response_format"), (R, "/text/format"), (A, "/output_config/format")] {
        let (body, lost) = sent((from, G), &with_answer(from, &given, &Value::Null), &Facts::default()).unwrap();
        assert_eq!(body["generationConfig"]["responseJsonSchema"], expected, "{from:?}");
        assert!(lost.ends_with(&format!("converted:{place}")), "{from:?} {lost}");
        let losses = |schema: &Value| {
            let asked = with_answer(from, schema, &Value::Null);
            translated((from, G), &asked, &Facts::default(), None).unwrap().outgoing.losses.iter().count()
        };
        assert_eq!((losses(&given), losses(&alike)), (losses(&expected) + 1, losses(&expected)), "{from:?}");
    }
    // A client of the format hears its own vendor's word.
    let own = with_answer(G, &given, &Value::Null);
    assert_eq!(sent((G, G), &own, &Facts::default()).unwrap().0["generationConfig"], own["generationConfig"]);
}
