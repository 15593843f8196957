"""Conversations rendered by chat templates, as transformers renders them.

`chat.json`: a list of `template`, `tokens` (what tokenizer_config.json says), and `cases` of a `row` of a data set and its `text`; null where the
template refuses it. The templates are written for this: each uses what those of published models use.
"""

import json

from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from fixtures import FIXTURES

TOKENS = {"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}, "pad_token": None}

MARKED = """{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}
        {{- '<|system|>\\nBe brief.<|end|>\\n' }}
    {%- endif %}
    {{- '<|' + message['role'] + '|>\\n' }}
    {% generation %}
    {{- message['content'] | trim + '<|end|>' + '\\n' }}
    {% endgeneration %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>\\n' }}
{%- endif %}
"""

ALTERNATING = """{{ bos_token }}
{% if messages[0]['role'] == 'system' %}
    {% set offset = 1 %}
    {% set system = '<<' + messages[0]['content'].strip() + '>>' %}
{% else %}
    {% set offset = 0 %}
    {% set system = '' %}
{% endif %}
{% for message in messages[offset:] %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('roles must alternate') }}
    {% endif %}
  {% if message['role'] == 'user' %}
[INST] {{ system if loop.first else '' }}{{ message['content'].strip() }} [/INST]
  {% else %}
 {{ message.content }}{{ eos_token }}
  {% endif %}
{% endfor %}
"""

TOOLS = """{%- set ns = namespace(calls=0, last='') -%}
{%- if tools is not none and tools %}
{{- 'tools: ' }}{% for tool in tools %}{{ tool | tojson }}{{ ', ' if not loop.last else '' }}{% endfor %}
{{- '\\n' }}{{ tools | tojson(indent=2) }}
{%- endif %}
{%- macro said(message) %}{% if message.content is string %}{{ message.content }}{% elif message.content is iterable %}{% for part in message.content %}{{ part.type }};{% endfor %}{% else %}nothing{% endif %}{% endmacro %}
{%- if not strftime_now is defined %}{% set day = '26 Jul 2024' %}{% else %}{% set day = '26 Jul 2024' %}{% endif %}
{{ 'day ' ~ day }}
{%- for message in messages %}
{%- if message.role == 'tool' %}{% continue %}{% endif %}
{%- if message.get('tool_calls') %}
{%- for call in message.tool_calls %}{% set ns.calls = ns.calls + 1 %}{{ call.function.name.upper() }}({{ call.function.arguments | tojson }}){% endfor %}
{%- endif %}
{{ message.role.title() }}: {{ said(message) }}{% set ns.last = message.role %}
{%- if 'stop' in (said(message) | lower) or message.role.startswith('end') %}{% break %}{% endif %}
{%- endfor %}
{{ ns.calls }} {{ ns.last }} {{ messages | length }} {{ messages | map(attribute='role') | join('/') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{{ 'a\n\nb\n' | indent(2, first=true) }}{{ 'c\nd' | indent(width=3) }}{{ tools is iterable }}
{{ messages[0] | tojson(separators=(',', ':'), sort_keys=true, ensure_ascii=true) }}{{ [1e-5, 1e16, 1.5, 1e22, 0.0001, -2e-7] | tojson }}
{{- messages[-1].content.split(' ')[-1] if messages[-1].content is string else '' }}
"""

CONVERSATIONS = [
    {"messages": [{"role": "user", "content": " Why? \n"}, {"role": "assistant", "content": "So — it is. \n"}]},
    {"messages": [{"role": "system", "content": " Be kind "}, {"role": "user", "content": "2 < 3 & 'x'?"}, {"role": "assistant", "content": "Yes \"é\""}], "id": 3},
    {"messages": [{"role": "assistant", "content": "stop it"}, {"role": "user", "content": "why"}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]}]},
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello there"}], "source": "x"},
    {
        "messages": [
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "look", "arguments": {"at": "Ö <b>", "n": [1, 2.5, True, None]}}}]},
            {"role": "tool", "content": "rain"},
            {"role": "assistant", "content": "It rains."},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}, "required": []}}}],
    },
]
SPEAKERS = {"human": "user", "gpt": "assistant"}


def messages(row: dict) -> list[dict]:
    """The turns as the program gives them to a template: text in parts is joined, for not every template knows parts."""
    if "conversations" in row:
        return [{"role": SPEAKERS[turn["from"]], "content": turn["value"]} for turn in row["conversations"]]
    turns = json.loads(json.dumps(row["messages"]))
    for turn in turns:
        if isinstance(turn["content"], list):
            turn["content"] = "".join(part["text"] for part in turn["content"])
    return turns


def rendered(template: str, row: dict) -> str | None:
    names = {name: token["content"] if isinstance(token, dict) else token for name, token in TOKENS.items()}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), **names)
    try:
        return tokenizer.apply_chat_template(messages(row), tools=row.get("tools"), chat_template=template, tokenize=False)
    except (TemplateError, TypeError):
        return None


def write() -> None:
    golden = [
        {"template": template, "tokens": TOKENS, "cases": [{"row": row, "text": rendered(template, row)} for row in CONVERSATIONS]}
        for template in (MARKED, ALTERNATING, TOOLS)
    ]
    (FIXTURES / "chat.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write()
