//! Conversations as text: rendered by the model's own chat template, as transformers renders them.

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value as Jinja};
use serde_json::{Map, Value};

use crate::{Error, Result, json};

/// The template of conversations without anything special.
const DEFAULT: &str = "default";
/// The template of conversations with tools, where there is one.
const TOOLS: &str = "tool_use";
/// The day that a template is told: the same always, so that a run can be repeated. A Friday.
const TODAY: [(char, &str); 13] = [
    ('Y', "2024"),
    ('y', "24"),
    ('m', "07"),
    ('d', "26"),
    ('e', "26"),
    ('B', "July"),
    ('b', "Jul"),
    ('A', "Friday"),
    ('a', "Fri"),
    ('H', "12"),
    ('M', "00"),
    ('S', "00"),
    ('%', "%"),
];
/// Names of speakers in files of ShareGPT, and what templates call them.
const SPEAKERS: [(&str, &str); 8] = [
    ("human", "user"),
    ("gpt", "assistant"),
    ("chatgpt", "assistant"),
    ("bing", "assistant"),
    ("bard", "assistant"),
    ("model", "assistant"),
    ("observation", "tool"),
    ("function_response", "tool"),
];

/// The chat templates of a model, and the names of its special tokens.
#[derive(Debug)]
pub(super) struct ChatTemplates {
    templates: BTreeMap<String, String>,
    special_tokens: Map<String, Value>,
}

impl ChatTemplates {
    /// Reads what transformers reads: `chat_template.jinja` and `additional_chat_templates/*.jinja`, else what `chat_template.json` or
    /// `tokenizer_config.json` say.
    ///
    /// # Errors
    /// If one is there and cannot be read.
    pub fn read(model: &Path) -> Result<Self> {
        let tokenizer = json::of_file(&model.join("tokenizer_config.json"))?;
        let mut templates = BTreeMap::new();
        for said in [&tokenizer, &json::of_file(&model.join("chat_template.json"))?] {
            match said.get("chat_template") {
                Some(Value::String(template)) => drop(templates.insert(DEFAULT.into(), template.clone())),
                Some(Value::Array(named)) => templates.extend(named.iter().filter_map(|entry| {
                    Some((entry["name"].as_str()?.to_owned(), entry["template"].as_str()?.to_owned()))
                })),
                _ => {}
            }
        }
        let more = std::fs::read_dir(model.join("additional_chat_templates")).into_iter().flatten().flatten();
        let more = more.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|kind| kind == "jinja"));
        let named = more.filter_map(|path| Some((path.file_stem()?.to_string_lossy().into_owned(), path)));
        for (name, path) in named.chain([(DEFAULT.to_owned(), model.join("chat_template.jinja"))]) {
            if path.is_file() {
                templates.insert(name, std::fs::read_to_string(&path).map_err(Error::io("read", path))?);
            }
        }
        // a token may be an object with its text
        let text = |token: &Value| token.as_str().or(token["content"].as_str()).map(Value::from);
        let tokens = tokenizer.as_object().into_iter().flatten().filter(|(name, _)| name.ends_with("_token"));
        let special_tokens = tokens.filter_map(|(name, token)| Some((name.clone(), text(token)?))).collect();
        Ok(Self { templates, special_tokens })
    }

    /// The text of a conversation, without a prompt for what comes next.
    ///
    /// # Errors
    /// What the template says, or that there is none.
    pub fn render(&self, row: &Map<String, Value>, turns: &[Value]) -> Result<String, String> {
        let tools = row.get("tools").filter(|tools| tools.as_array().is_some_and(|tools| !tools.is_empty()));
        let name = if tools.is_some() && self.templates.contains_key(TOOLS) { TOOLS } else { DEFAULT };
        let template = self.templates.get(name).ok_or("the model has no chat template")?;
        let messages = turns.iter().map(message).collect::<Result<Vec<_>, _>>()?;
        let mut context = self.special_tokens.clone();
        context.insert("messages".into(), messages.into());
        context.insert("tools".into(), tools.cloned().unwrap_or_default());
        context.insert("documents".into(), Value::Null);
        context.insert("add_generation_prompt".into(), false.into());
        let context: Jinja = serde_json::from_value(context.into()).map_err(|error| error.to_string())?;
        let rendered = environment(template)
            .and_then(|environment| environment.template_from_str(&without_marks(template))?.render(context));
        rendered.map_err(|error| {
            format!("its chat template refuses it: {}", error.detail().map_or_else(|| error.to_string(), String::from))
        })
    }
}

/// What transformers offers a template.
fn environment(template: &str) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_fuel(Some(1 << 24));
    environment.add_filter("tojson", |value: Jinja, options: Kwargs| to_json(&value, &options));
    environment.add_function("raise_exception", |message: String| -> Result<Jinja, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    // a template that asks whether there is a day has one of its own, for which it was trained
    if !template.contains("strftime_now is defined") {
        environment.add_function("strftime_now", |format: String| day(&format));
    }
    Ok(environment)
}

/// A day by the letters of `strftime`.
fn day(format: &str) -> String {
    let (mut letters, mut written) = (format.chars(), String::new());
    while let Some(letter) = letters.next() {
        if letter != '%' {
            written.push(letter);
            continue;
        }
        let Some(kind) = letters.next() else { break };
        written.push_str(TODAY.iter().find(|(known, _)| *known == kind).map_or("", |(_, value)| value));
    }
    written
}

/// A template without the marks of what a trainer should look at, which stand as if they were not there.
fn without_marks(template: &str) -> String {
    let mark = |name: &str, instead: &str, template: &str| {
        let pattern = format!(r"\{{%(-?)\s*{name}\s*(-?)%\}}");
        let mark = regex::Regex::new(&pattern)
            .map(|mark| mark.replace_all(template, format!("{{%${{1}} {instead} ${{2}}%}}")).into_owned());
        mark.unwrap_or_else(|_| template.to_owned())
    };
    mark("endgeneration", "endif", &mark("generation", "if true", template))
}

/// A value as Python writes it: a space after commas and colons, or lines indented.
fn to_json(value: &Jinja, options: &Kwargs) -> Result<Jinja, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let fault = |error: serde_json::Error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string());
    let value = serde_json::to_value(value).map_err(fault)?;
    let mut text = String::new();
    write_json(&value, indent, 0, &mut text);
    Ok(Jinja::from_safe_string(text))
}

fn write_json(value: &Value, indent: Option<usize>, depth: usize, text: &mut String) {
    let items: Vec<(Option<&String>, &Value)> = match value {
        Value::Array(items) => items.iter().map(|item| (None, item)).collect(),
        Value::Object(items) => items.iter().map(|(key, item)| (Some(key), item)).collect(),
        other => return text.push_str(&other.to_string()),
    };
    let [open, close] = if value.is_array() { ['[', ']'] } else { ['{', '}'] };
    let line = |depth: usize, text: &mut String| {
        if let Some(indent) = indent.filter(|_| !items.is_empty()) {
            text.push('\n');
            text.push_str(&" ".repeat(indent * depth));
        }
    };
    text.push(open);
    for (place, (key, item)) in items.iter().enumerate() {
        if place > 0 {
            text.push_str(if indent.is_some() { "," } else { ", " });
        }
        line(depth + 1, text);
        if let Some(key) = key {
            text.push_str(&format!("{}: ", Value::from(key.as_str())));
        }
        write_json(item, indent, depth + 1, text);
    }
    line(depth, text);
    text.push(close);
}

/// A turn with `role` and `content`, whichever of the two usual ways its file has it.
fn message(turn: &Value) -> Result<Value, String> {
    let turn = turn.as_object().ok_or("a turn of its conversation is not an object")?;
    let mut message = turn.clone();
    for (key, other) in [("role", "from"), ("content", "value")] {
        if !message.contains_key(key)
            && let Some(said) = message.remove(other)
        {
            message.insert(key.into(), said);
        }
    }
    let role = message
        .get("role")
        .and_then(Value::as_str)
        .ok_or("a turn of its conversation names no speaker (`role`, or `from`)")?;
    let role = SPEAKERS.iter().find(|(name, _)| *name == role).map(|(_, role)| *role);
    if let (Some(role), true) = (role, turn.contains_key("from")) {
        message.insert("role".into(), role.into());
    }
    // calls of tools may come without a word
    message.entry("content").and_modify(|said| {
        if said.is_null() {
            *said = "".into();
        }
    });
    // text in parts means the same as the text
    let parts = message.get("content").and_then(Value::as_array);
    let text: Option<String> = parts.and_then(|parts| {
        parts.iter().map(|part| if part["type"] == "text" { part["text"].as_str() } else { None }).collect()
    });
    if let Some(text) = text {
        message.insert("content".into(), text.into());
    }
    Ok(message.into())
}
