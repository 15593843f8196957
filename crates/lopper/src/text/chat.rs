//! Conversations as text: rendered by the model's own chat template, as transformers renders them.

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value as Jinja};
use serde_json::{Map, Value};

use super::python_json::Dump;
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
/// Steps that a template may take.
const FUEL: u64 = 1 << 24;
/// Spaces that a template indents by at most.
const WIDEST_INDENT: usize = 64;
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
    /// Each with what transformers offers it, or what is wrong with it.
    templates: BTreeMap<String, Result<Environment<'static>, String>>,
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
        let mut templates: BTreeMap<String, String> = BTreeMap::new();
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
        let templates = templates
            .into_iter()
            .map(|(name, template)| (name, ready(&template).map_err(|error| refused(&error))))
            .collect();
        Ok(Self { templates, special_tokens })
    }

    /// The text of a conversation, without a prompt for what comes next.
    ///
    /// # Errors
    /// What the template says, or that there is none.
    pub fn render(&self, row: &Map<String, Value>, turns: &[Value]) -> Result<String, String> {
        let tools = row.get("tools").filter(|tools| tools.as_array().is_some_and(|tools| !tools.is_empty()));
        let name = if tools.is_some() && self.templates.contains_key(TOOLS) { TOOLS } else { DEFAULT };
        let template =
            self.templates.get(name).ok_or("the model has no chat template")?.as_ref().map_err(String::clone)?;
        let messages = turns.iter().map(message).collect::<Result<Vec<_>, _>>()?;
        let mut context = self.special_tokens.clone();
        context.insert("messages".into(), messages.into());
        context.insert("tools".into(), tools.cloned().unwrap_or_default());
        context.insert("documents".into(), Value::Null);
        context.insert("add_generation_prompt".into(), false.into());
        let context: Jinja = serde_json::from_value(context.into()).map_err(|error| error.to_string())?;
        template.get_template(DEFAULT).and_then(|template| template.render(context)).map_err(|error| refused(&error))
    }
}

/// What a template says against a conversation, or what is wrong with the template.
fn refused(error: &minijinja::Error) -> String {
    format!("its chat template refuses it: {}", error.detail().map_or_else(|| error.to_string(), String::from))
}

fn invalid(problem: impl Into<std::borrow::Cow<'static, str>>) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, problem)
}

/// A template with what transformers offers it. Steps of it are counted, so that it ends; what it holds in memory is not.
fn ready(template: &str) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_fuel(Some(FUEL));
    environment.add_test("iterable", |value: &Jinja| !value.is_none() && value.try_iter().is_ok());
    environment.add_filter("indent", |text: String, width: Option<usize>, first: Option<bool>, options: Kwargs| {
        indented(&text, (width, first), &options)
    });
    environment.add_filter("tojson", |value: Jinja, options: Kwargs| to_json(&value, &options));
    environment.add_function("strftime_now", |format: String| day(&format));
    environment.add_function("raise_exception", |message: String| -> Result<Jinja, minijinja::Error> {
        Err(invalid(message))
    });
    environment.add_template_owned(DEFAULT, without_marks(template))?;
    Ok(environment)
}

/// A day by the letters of `strftime`.
fn day(format: &str) -> Result<String, minijinja::Error> {
    let (mut letters, mut written) = (format.chars(), String::new());
    while let Some(letter) = letters.next() {
        if letter != '%' {
            written.push(letter);
            continue;
        }
        let kind = letters.by_ref().find(|letter| *letter != '-');
        let known = TODAY.iter().find(|(known, _)| Some(*known) == kind);
        written.push_str(known.ok_or_else(|| invalid(format!("no day in the form {format:?} is known")))?.1);
    }
    Ok(written)
}

/// A template without the marks of what a trainer should look at, which stand as if they were not there.
fn without_marks(template: &str) -> String {
    let mark = |name: &str, instead: &str, template: &str| {
        let mark = regex::Regex::new(&format!(r"\{{%(-?)\s*{name}\s*(-?)%\}}"));
        let instead = format!("{{%${{1}} {instead} ${{2}}%}}");
        mark.map_or_else(|_| template.to_owned(), |mark| mark.replace_all(template, instead).into_owned())
    };
    mark("endgeneration", "endif", &mark("generation", "if true", template))
}

/// Lines behind so many spaces: all but the first and empty ones, and the first too if asked for.
fn indented(
    text: &str,
    (width, first): (Option<usize>, Option<bool>),
    options: &Kwargs,
) -> Result<String, minijinja::Error> {
    let width = width.or(options.get("width")?).unwrap_or(4);
    let first = first.or(options.get("first")?).unwrap_or(false);
    let blank = options.get::<Option<bool>>("blank")?.unwrap_or(false);
    options.assert_all_used()?;
    let spaces = " ".repeat(at_most_widest(width)?);
    let line = |(place, line): (usize, &str)| {
        let is_indented = if place == 0 { first } else { blank || !line.is_empty() };
        if is_indented { format!("{spaces}{line}") } else { line.to_owned() }
    };
    Ok(text.split('\n').enumerate().map(line).collect::<Vec<_>>().join("\n"))
}

fn at_most_widest(indent: usize) -> Result<usize, minijinja::Error> {
    if indent > WIDEST_INDENT {
        Err(invalid(format!("{indent} spaces are more than {WIDEST_INDENT}")))
    } else {
        Ok(indent)
    }
}

/// A value as `json.dumps` of Python writes it, with the arguments that transformers gives a template.
fn to_json(value: &Jinja, options: &Kwargs) -> Result<Jinja, minijinja::Error> {
    let indent = options.get::<Option<usize>>("indent")?.map(at_most_widest).transpose()?;
    let separators: Option<(String, String)> = options.get::<Option<Vec<String>>>("separators")?.and_then(|given| {
        let [item, key]: [String; 2] = given.try_into().ok()?;
        Some((item, key))
    });
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    options.assert_all_used()?;
    let (item, key) = separators.unwrap_or_else(|| (if indent.is_some() { "," } else { ", " }.into(), ": ".into()));
    let value = serde_json::to_value(value).map_err(|error| invalid(error.to_string()))?;
    let mut text = String::new();
    Dump { indent, item, key, sorted, ascii }.write(&value, 0, &mut text);
    Ok(Jinja::from_safe_string(text))
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
    // text in parts is one text: not every template knows parts, and some leave out what they do not know
    let parts = message.get("content").and_then(Value::as_array);
    let text = |part: &Value| (part["type"] == "text").then(|| part["text"].as_str().map(String::from)).flatten();
    if let Some(text) = parts.and_then(|parts| parts.iter().map(text).collect::<Option<String>>()) {
        message.insert("content".into(), text.into());
    }
    Ok(message.into())
}
