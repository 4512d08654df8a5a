//! The part of JSON Schema that `docs/schemas/` uses, and no key that is not described.

use serde_json::{Map, Value};

/// Checks a document against the schema that it names; the error says where it differs.
pub(crate) fn check(document: &Value) -> Result<(), String> {
    let name = document["schema"].as_str().ok_or("no schema is named")?;
    check_as(document, name)
}

/// Checks a document that names no schema itself.
#[allow(dead_code, reason = "most documents name their schema")]
pub(crate) fn check_as(document: &Value, name: &str) -> Result<(), String> {
    let file = format!("{}.json", name.replace('/', "-"));
    one(document, &load(&file)?, &file, name)
}

fn load(file: &str) -> Result<Value, String> {
    // The package's own directory, or the workspace's above it.
    let own = env!("CARGO_MANIFEST_DIR");
    let path = [
        format!("{own}/docs/schemas/{file}"),
        format!("{own}/../docs/schemas/{file}"),
    ];
    let path = path
        .into_iter()
        .find(|path| std::path::Path::new(path).exists());
    let path = path.ok_or_else(|| format!("no docs/schemas/{file}"))?;
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))
}

fn one(value: &Value, schema: &Value, file: &str, at: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let (other, pointer) = reference.split_once('#').ok_or("a reference has a #")?;
        let file = if other.is_empty() { file } else { other };
        let whole = load(file)?;
        let target = whole
            .pointer(pointer)
            .ok_or_else(|| format!("{reference} leads nowhere"))?;
        return one(value, target, file, at);
    }
    if let Some(constant) = schema.get("const") {
        return if constant == value {
            Ok(())
        } else {
            Err(format!("{at}: not {constant}"))
        };
    }
    if let Some(values) = schema["enum"].as_array() {
        let listed = values.contains(value);
        return if listed {
            Ok(())
        } else {
            Err(format!("{at}: {value} is not listed"))
        };
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        single => vec![
            single
                .as_str()
                .ok_or_else(|| format!("{at}: the schema has no type"))?,
        ],
    };
    let own = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if types.contains(&"number") => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !types.contains(&own) || (own == "integer" && value.as_u64().is_none()) {
        return Err(format!("{at}: {value} is no {types:?}"));
    }
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(n, item)| one(item, &schema["items"], file, &format!("{at}[{n}]"))),
        Value::Object(keys) => object(keys, schema, file, at),
        _ => Ok(()),
    }
}

fn object(keys: &Map<String, Value>, schema: &Value, file: &str, at: &str) -> Result<(), String> {
    for required in schema["required"].as_array().into_iter().flatten() {
        let key = required.as_str().unwrap_or_default();
        if !keys.contains_key(key) {
            return Err(format!("{at}: {key} is missing"));
        }
    }
    for (key, value) in keys {
        let described = schema["properties"]
            .get(key)
            .or_else(|| schema.get("additionalProperties"))
            .filter(|described| **described != Value::Bool(false));
        let described = described.ok_or_else(|| format!("{at}: {key} is not described"))?;
        one(value, described, file, &format!("{at}.{key}"))?;
    }
    Ok(())
}
