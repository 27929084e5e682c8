// links: base event deliver
#include "deliver/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "event/json.h"
#include <cmocka.h>

/** Names and texts by turns, null at the end. */
typedef const char *const partials[9];

static bool find_partial(void *context, struct str name, struct str *text, struct str *file) {
  const char *const *all = context;
  for (; all && all[0]; all += 2) {
    if (!str_equal(str_from(all[0]), name)) continue;
    *text = str_from(all[1]);
    *file = str_from(all[0]);
    return true;
  }
  // A host that knows its partials says which is meant.
  if (all && name.len > 4 && memcmp(name.data, "foot", 4) == 0) *file = STR("footer");
  return false;
}

struct output {
  struct rendered rendered;
  struct template *template;
  struct error err;
  int rc;
};

static void parse(const char *json, struct buf *out) {
  struct json_parser *parser = json_parser_new();
  size_t len = strlen(json);
  char *padded = memory_zalloc(len + JSON_PADDING);
  memcpy(padded, json, len);
  struct error err;
  if (json_parse(parser, padded, len, out, &err)) fail_msg("%s", err.message);
  memory_free(padded);
  json_parser_free(parser);
}

/** By way of a bundle that is exactly as long as its memory, as the host does it. */
static void compile(struct output *output, const char *file, struct str text, const char *const *partials) {
  *output = (struct output){0};
  rendered_init(&output->rendered);
  struct buf bundle = {0};
  char *source = memory_alloc(text.len ? text.len : 1);
  if (text.len) memcpy(source, text.data, text.len);
  output->rc = template_bundle(str_from(file), (struct str){source, text.len}, find_partial,
                               (void *)(uintptr_t)partials, &bundle, &output->err);
  memory_free(source);
  if (output->rc == 0) {
    assert_true(value_valid(buf_str(&bundle)));
    char *exact = memory_dup((const char *)bundle.data, bundle.len);
    output->rc = template_new(&output->template, (struct str){exact, bundle.len}, &output->err);
    memory_free(exact);
  }
  buf_deinit(&bundle);
}

static void render(struct output *output, const char *file, const char *text, const char *json,
                   const char *const *partials) {
  compile(output, file, str_from(text), partials);
  if (output->rc) return;
  struct buf data = {0};
  parse(json, &data);
  output->rc = template_render(output->template, buf_str(&data), &output->rendered, &output->err);
  buf_deinit(&data);
}

static void release(struct output *output) {
  template_free(output->template);
  rendered_deinit(&output->rendered);
}

static void expect_buf(const char *what, const struct buf *found, const char *expected) {
  if (!str_equal(buf_str(found), str_from(expected)))
    fail_msg("%s:\nfound    <%.*s>\nexpected <%s>", what, (int)found->len,
             found->data ? (const char *)found->data : "", expected);
}

static void expect_body(const char *file, const char *text, const char *json, const char *const *partials,
                        const char *expected) {
  struct output output;
  render(&output, file, text, json, partials);
  if (output.rc) fail_msg("%s: %s", text, output.err.message);
  expect_buf(text, &output.rendered.body, expected);
  release(&output);
}

static void expect_error(const char *file, const char *text, const char *const *partials,
                         const char *expected) {
  struct output output;
  compile(&output, file, str_from(text), partials);
  if (output.rc != ERROR_SCRIPT) fail_msg("%s: no error, expected %s", text, expected);
  assert_string_equal(output.err.message, expected);
  release(&output);
}

struct sample {
  const char *text, *json, *expected;
};

static void expect_samples(const char *file, const struct sample *samples, size_t count) {
  for (size_t i = 0; i < count; i++)
    expect_body(file, samples[i].text, samples[i].json, NULL, samples[i].expected);
}
#define EXPECT_SAMPLES(file, samples) expect_samples(file, samples, sizeof samples / sizeof samples[0])

static void test_variables(void **state) {
  (void)state;
  static const struct sample samples[] = {
      {"no tags", "{}", "no tags"},
      {"", "{}", ""},
      {"Hi {{name}}!", "{\"name\":\"Ada\"}", "Hi Ada!"},
      {"{{ name }}|{{\nname\t}}", "{\"name\":\"Ada\"}", "Ada|Ada"},
      {"{{a}}", "{\"a\":\"& \\\" < > '\"}", "&amp; &quot; &lt; &gt; &#39;"},
      {"{{{a}}}|{{&a}}|{{& a }}|{{{ a }}}", "{\"a\":\"<&>\"}", "<&>|<&>|<&>|<&>"},
      {"{{a}} {{b}} {{c}} {{d}} {{e}}", "{\"a\":85,\"b\":1.21,\"c\":true,\"d\":false,\"e\":-7}",
       "85 1.21 true false -7"},
      {"[{{a}}{{b}}{{{b}}}{{&b.c}}]", "{\"a\":null}", "[]"},
      {"{{a.b.c}}", "{\"a\":{\"b\":{\"c\":\"deep\"}}}", "deep"},
      {"[{{a.b.c}}]", "{\"a\":{\"b\":{}},\"c\":\"wrong\"}", "[]"},
      {"[{{a.b.c}}]", "{\"a\":{},\"b\":{\"c\":\"wrong\"}}", "[]"},
      {"[{{a.b}}]", "{\"a\":\"text\"}", "[]"},
      {"{{items.1.sku}}[{{items.2.sku}}]", "{\"items\":[{\"sku\":\"A\"},{\"sku\":\"B\"}]}", "B[]"},
      {"{{first-name}} {{straße}} {{_x1}} {{a/b}} {{a:b}} {{$x}}",
       "{\"first-name\":1,\"straße\":2,\"_x1\":3,\"a/b\":4,\"a:b\":5,\"$x\":6}", "1 2 3 4 5 6"},
      {"{{{a}}}", "{\"a\":{\"x\":[1,\"two\"]}}", "{\"x\":[1,\"two\"]}"},
      {"{{a}}", "{\"a\":[1,\"two\"]}", "[1,&quot;two&quot;]"},
      {"  {{a}}  \n", "{\"a\":\"x\"}", "  x  \n"},
      {"{{a}}{{a}}", "{\"a\":\"{{b}}\",\"b\":\"never\"}", "{{b}}{{b}}"},
      {"a { b }} c } {", "{}", "a { b }} c } {"},
  };
  EXPECT_SAMPLES("t.html", samples);
}

static void test_sections(void **state) {
  (void)state;
  static const struct sample samples[] = {
      {"{{#a}}yes{{/a}}{{^a}}no{{/a}}", "{\"a\":true}", "yes"},
      {"{{#a}}yes{{/a}}{{^a}}no{{/a}}", "{\"a\":false}", "no"},
      {"{{#a}}yes{{/a}}{{^a}}no{{/a}}", "{\"a\":null}", "no"},
      {"{{#a}}yes{{/a}}{{^a}}no{{/a}}", "{\"a\":0}", "no"},
      {"{{#a}}yes{{/a}}{{^a}}no{{/a}}", "{\"a\":\"\"}", "no"},
      {"{{#a}}yes{{/a}}{{^a}}no{{/a}}", "{\"a\":[]}", "no"},
      {"{{#a}}yes{{/a}}{{^a}}no{{/a}}", "{\"a\":{}}", "yes"},
      {"{{#a}}yes{{/a}}{{^a}}no{{/a}}", "{}", "no"},
      {"{{#a}}{{b}}{{/a}}", "{\"a\":{\"b\":\"in\"},\"b\":\"out\"}", "in"},
      {"{{#a}}{{b}}{{/a}}", "{\"a\":{\"c\":1},\"b\":\"out\"}", "out"},
      {"{{#a}}{{b.c}}|{{/a}}", "{\"a\":{\"b\":{}},\"b\":{\"c\":\"wrong\"}}", "|"},
      {"{{#items}}{{n}}{{/items}}", "{\"items\":[{\"n\":1},{\"n\":2},{\"n\":3}]}", "123"},
      {"{{#items}}({{.}}){{/items}}", "{\"items\":[1,2.5,\"<\",true]}", "(1)(2.5)(&lt;)(true)"},
      {"{{#items}}({{{.}}}{{&.}}){{/items}}", "{\"items\":[\"<\"]}", "(<<)"},
      {"{{#a}}({{#.}}{{.}}{{/.}}){{/a}}", "{\"a\":[[1,2],[\"x\"]]}", "(12)(x)"},
      {"{{#a}}{{.}}{{/a}}", "{\"a\":\"text\"}", "text"},
      {"{{#a}}{{.}}{{/a}}", "{\"a\":7}", "7"},
      {"{{#.}}{{x}}{{/.}}", "{\"x\":\"top\"}", "top"},
      {"{{#a.b.c}}yes{{/a.b.c}}{{^a.b.d}}no{{/a.b.d}}", "{\"a\":{\"b\":{\"c\":true}}}", "yesno"},
      {"{{#a}}{{#b}}{{#c}}{{x}}{{y}}{{z}}{{/c}}{{/b}}{{/a}}",
       "{\"a\":{\"x\":1},\"b\":{\"y\":2},\"c\":{\"z\":3}}", "123"},
      {"{{#a}}A{{#a}}B{{/a}}C{{/a}}", "{\"a\":true}", "ABC"},
      {"{{#a}}A{{^a}}B{{/a}}C{{/a}}", "{\"a\":true}", "AC"},
      {"{{#out}}{{#in}}{{o}}{{i}} {{/in}}{{/out}}",
       "{\"out\":[{\"o\":1,\"in\":[{\"i\":\"a\"},{\"i\":\"b\"}]},{\"o\":2,\"in\":[]},{\"o\":3,\"in\":[{\"i\":"
       "\"c\"}]}]}",
       "1a 1b 3c "},
      {"{{^a}}{{b}}{{/a}}", "{\"b\":\"x\"}", "x"},
      {"{{# a }}x{{/ a }}", "{\"a\":1}", "x"},
      {" | {{#a}}\t|\t{{/a}} | \n", "{\"a\":true}", " | \t|\t | \n"},
  };
  EXPECT_SAMPLES("t.html", samples);
}

static void test_standalone_lines(void **state) {
  (void)state;
  static const struct sample samples[] = {
      {"| This\n{{#a}}\n|\n{{/a}}\n| Line", "{\"a\":true}", "| This\n|\n| Line"},
      {"| This\n  {{#a}}\n|\n\t{{/a}}  \n| Line", "{\"a\":true}", "| This\n|\n| Line"},
      {"|\r\n{{#a}}\r\n{{/a}}\r\n|", "{\"a\":true}", "|\r\n|"},
      {"  {{#a}}\n#{{/a}}\n/", "{\"a\":true}", "#\n/"},
      {"#{{#a}}\n/\n  {{/a}}", "{\"a\":true}", "#\n/\n"},
      {" {{^a}}\nx\n {{/a}}\n", "{}", "x\n"},
      {"Begin.\n{{! note }}\nEnd.\n", "{}", "Begin.\nEnd.\n"},
      {"Begin.\n  {{! a\n  long one }}  \nEnd.\n", "{}", "Begin.\nEnd.\n"},
      {"  12 {{! 34 }}\n", "{}", "  12 \n"},
      {"12345{{! x }}67890", "{}", "1234567890"},
      {"{{! a}}{{! b}}\nx", "{}", "\nx"},
      {"{{! a}} {{#b}}\nx{{/b}}", "{\"b\":1}", " \nx"},
      {"{{! a\n}}{{! b}}\nx", "{}", "\nx"},
      {"  {{a}}\n", "{}", "  \n"},
      {"{{=<% %>=}}\n<%a%>\n", "{\"a\":1}", "1\n"},
      {"\r\n{{! x }}\r\ny", "{}", "\r\ny"},
      {"{{! x }}", "{}", ""},
      {"a\n{{#b}}\n\n{{/b}}\n\nc", "{\"b\":1}", "a\n\n\nc"},
  };
  EXPECT_SAMPLES("t.txt", samples);
}

static void test_delimiters(void **state) {
  (void)state;
  static const struct sample samples[] = {
      {"{{=<% %>=}}(<%text%>)", "{\"text\":\"Hey!\"}", "(Hey!)"},
      {"({{=[ ]=}}[text])", "{\"text\":\"It worked!\"}", "(It worked!)"},
      {"[{{#s}}{{d}}|d|{{/s}}{{= | | =}}|#s|{{d}}|d||/s|]", "{\"s\":true,\"d\":\"I\"}", "[I|d|{{d}}I]"},
      {"{{=| |=}}|&a| |={{ }}=|{{{a}}}", "{\"a\":\"<\"}", "< <"},
      {"{{= @ @ =}}{{{a}}}@a@", "{\"a\":1}", "{{{a}}}1"},
      {"| {{=@ @=}} |", "{}", "|  |"},
  };
  EXPECT_SAMPLES("t.txt", samples);
}

static void test_partials(void **state) {
  (void)state;
  static partials text = {"text", "from {{where}}"};
  expect_body("t.html", "\"{{>text}}\"", "{\"where\":\"<here>\"}", text, "\"from &lt;here&gt;\"");
  expect_body("t.html", "{{#a}}{{> text }}{{/a}}", "{\"a\":{\"where\":\"a\"}}", text, "from a");
  static partials tree = {"node", "{{content}}<{{#nodes}}{{>node}}{{/nodes}}>"};
  expect_body("t.txt", "{{>node}}", "{\"content\":\"X\",\"nodes\":[{\"content\":\"Y\",\"nodes\":[]}]}", tree,
              "X<Y<>>");
  static partials lines = {"p", ">\n>"};
  expect_body("t.txt", "  {{d}}  {{> p}}\n", "{\"d\":\"|\"}", lines, "  |  >\n>\n");
  expect_body("t.txt", "|\r\n{{>p}}\r\n|", "{}", lines, "|\r\n>\n>|");
  expect_body("t.txt", "  {{>p}}\n>", "{}", lines, "  >\n  >>");
  expect_body("t.txt", ">\n  {{>p}}", "{}", lines, ">\n  >\n  >");
  static partials indent = {"p", "|\n{{{content}}}\n|\n"};
  expect_body("t.txt", "\\\n {{>p}}\n/\n", "{\"content\":\"<\\n->\"}", indent, "\\\n |\n <\n->\n |\n/\n");
  // What a standalone section of the partial leaves behind is not indented, what stands in its lines is.
  static partials section = {"p", "a\n{{#s}}\nb\n{{/s}}\n{{#s}}c{{/s}}\n"};
  expect_body("t.txt", "  {{>p}}\n", "{\"s\":[1,2]}", section, "  a\n  b\n  b\n  cc\n");
  static partials nested = {"outer", "(\n  {{>inner}}\n) {{>inner}}\n", "inner", "1\n2\n"};
  expect_body("t.txt", "\t{{>outer}}\n.", "{}", nested, "\t(\n\t  1\n\t  2\n\t) 1\n2\n\n.");
  static partials own = {"p", "{{=<% %>=}}<%a%>"};
  expect_body("t.txt", "{{>p}}{{a}}", "{\"a\":1}", own, "11");
  expect_body("t.txt", "{{=| |=}}|>text|", "{\"where\":1}", text, "from 1");
}

static void test_json(void **state) {
  (void)state;
  static const struct sample samples[] = {
      {"{\"a\":\"{{a}}\"}", "{\"a\":\"say \\\"hi\\\" \\\\ \\n\\u0001<é>\"}",
       "{\"a\":\"say \\\"hi\\\" \\\\ \\n\\u0001<é>\"}"},
      // Outside of a string a name stands for a whole value.
      {"{\"a\":{{a}},\"b\":{{b}},\"c\":{{c}},\"d\":{{d}},\"e\":{{e}}}",
       "{\"a\":\"x\\\"\",\"b\":1.5,\"c\":true,\"d\":[1,{\"k\":\"v\"}]}",
       "{\"a\":\"x\\\"\",\"b\":1.5,\"c\":true,\"d\":[1,{\"k\":\"v\"}],\"e\":null}"},
      {"[\"\\\"{{a}}\",{{a}}]", "{\"a\":\"x\"}", "[\"\\\"x\",\"x\"]"},
      {"{\"a\":\"{{a}}\"}", "{\"a\":[\"x\"]}", "{\"a\":\"[\\\"x\\\"]\"}"},
      {"{{{raw}}}{{a}}\"", "{\"raw\":\"\\\"\",\"a\":\"q\\\"\"}", "\"q\\\"\""},
      {"[{{#l}}\"{{.}}\",{{/l}}0]", "{\"l\":[\"a\",\"b\\\"\"]}", "[\"a\",\"b\\\"\",0]"},
  };
  EXPECT_SAMPLES("t.json", samples);
}

static void expect_header(const struct output *output, const char *name, const char *expected) {
  struct str value;
  if (!value_member(buf_str(&output->rendered.headers), str_from(name), &value))
    fail_msg("no header %s", name);
  struct str text = value_head(value).string;
  if (!str_equal(text, str_from(expected)))
    fail_msg("%s: found <%.*s>, expected <%s>", name, STR_ARG(text), expected);
}

static void test_front_matter(void **state) {
  (void)state;
  struct output output;
  render(&output, "t.html",
         "---\r\n# a comment\n\nsubject: \"{{name}}, your \\\"cart\\\" \\u2014 waits\" # said once\nfrom: "
         "'Shop''s <a@b.example>'\n"
         "preheader: {{! }}\n"
         "---\n<p>{{name}}</p>\n",
         "{\"name\":\"A & B\"}", NULL);
  assert_int_equal(output.rc, ERROR_SCRIPT); // the unquoted brace
  release(&output);
  render(&output, "t.html",
         "---\r\n# a comment\n\nsubject: \"{{name}}, your \\\"cart\\\" \\u2014 waits\" # said once\nfrom: "
         "'Shop''s <a@b.example>'\n"
         "title: plain text, with#5: no  # but this\nempty:\n---\n<p>{{name}}</p>\n",
         "{\"name\":\"A & B\"}", NULL);
  assert_int_equal(output.rc, ERROR_SCRIPT); // ": " would be a mapping
  assert_string_equal(output.err.message,
                      "t.html:6:26: `:` has a meaning of its own here: put the value in quotes, as in title: "
                      "\"plain text, with#5: no\"");
  release(&output);
  render(&output, "t.html",
         "---\r\n# a comment\n\nsubject: \"{{name}}, your \\\"cart\\\" \\u2014 waits\" # said once\nfrom: "
         "'Shop''s <a@b.example>'\n"
         "title: plain text, with#5 and a:b  # but not this\nempty:\n---  \n<p>{{name}}</p>\n",
         "{\"name\":\"A & B\"}", NULL);
  if (output.rc) fail_msg("%s", output.err.message);
  // Headers are not HTML, the body is.
  expect_header(&output, "subject", "A & B, your \"cart\" — waits");
  expect_header(&output, "from", "Shop's <a@b.example>");
  expect_header(&output, "title", "plain text, with#5 and a:b");
  expect_header(&output, "empty", "");
  expect_buf("body", &output.rendered.body, "<p>A &amp; B</p>\n");
  const struct str *names;
  assert_int_equal(template_headers(output.template, &names), 4);
  assert_true(str_equal(names[2], STR("title")));
  release(&output);
  // A line of dashes further down is text.
  expect_body("t.txt", "x\n---\ny: z\n---\n", "{}", NULL, "x\n---\ny: z\n---\n");
  expect_body("t.txt", "---\n---\n", "{}", NULL, "");
  expect_body("t.txt", "----\nx", "{}", NULL, "----\nx");
}

#define HIDDEN "<div style=\"display:none;max-height:0;overflow:hidden;mso-hide:all\">"

static void test_preheader(void **state) {
  (void)state;
  struct output output;
  render(&output, "t.html", "---\npreheader: \"For {{name}}\"\n---\n<p>Hello</p>\n", "{\"name\":\"A & B\"}",
         NULL);
  assert_int_equal(output.rc, 0);
  expect_header(&output, "preheader", "For A & B");
  expect_buf("body", &output.rendered.body, HIDDEN "For A &amp; B</div>\n<p>Hello</p>\n");
  expect_buf("text", &output.rendered.text, "Hello\n"); // which shows its first line of itself
  release(&output);
  expect_body("t.html", "---\npreheader: soon\n---\n<html><head></head><BODY class=\"a\">x</BODY></html>",
              "{}", NULL, "<html><head></head><BODY class=\"a\">" HIDDEN "soon</div>\nx</BODY></html>");
  expect_body("t.html", "---\npreheader: \"{{name}}\"\n---\n<body", "{}", NULL, "<body"); // it says nothing
  expect_body("t.txt", "---\npreheader: soon\n---\nx", "{}", NULL, "x");
}

static void test_header_injection(void **state) {
  (void)state;
  struct output output;
  render(&output, "t.txt", "---\nsubject: \"Hi {{name}}!\\nX: y\"\n---\n",
         "{\"name\":\"Eve\\r\\nBcc: all@b.example\\u0000\\u007f\\t\"}", NULL);
  assert_int_equal(output.rc, 0);
  expect_header(&output, "subject", "Hi Eve Bcc: all@b.example ! X: y");
  release(&output);
}

static void test_names(void **state) {
  (void)state;
  static partials partial = {"p", "{{in_partial}}{{name}}"};
  struct output output;
  compile(&output, "t.html",
          STR("---\nsubject: "
              "\"{{subject_line}}\"\n---\n{{name}}{{cart.total}}{{#items}}{{sku}}{{.}}{{/"
              "items}}{{^none}}{{cart.id}}{{/none}}{{>p}}"),
          partial);
  assert_int_equal(output.rc, 0);
  const struct str *names;
  size_t count = template_names(output.template, &names);
  static const char *const expected[] = {"name", "cart",         "items",     "sku",
                                         "none", "subject_line", "in_partial"};
  assert_int_equal(count, 7);
  for (size_t i = 0; i < count; i++) assert_true(str_equal(names[i], str_from(expected[i])));
  assert_int_equal(template_kind_of(output.template), TEMPLATE_HTML);
  release(&output);
}

static void test_errors_teach(void **state) {
  (void)state;
  expect_error("c/t.html", "a\n  {{#items}}\n x\n", NULL,
               "c/t.html:2:3: {{#items}} is still open at the end, in line 4: write {{/items}} where the "
               "section ends");
  expect_error("t.html", "{{#a}}\n{{^b}}\n{{/a}}", NULL,
               "t.html:3:1: {{/a}} does not close {{^b}} of line 2, which is still open: write {{/b}} first");
  expect_error("t.html", "x {{/a}}", NULL,
               "t.html:1:3: {{/a}} closes nothing: no section is open here; write {{#a}} where it begins");
  expect_error("t.html", "x\n\n {{name", NULL,
               "t.html:3:2: the tag that begins here has no end: write }} behind its name");
  expect_error("t.html", "{{{name}}", NULL,
               "t.html:1:1: the tag that begins here has no end: write }}} behind its name");
  expect_error("t.html", "é{{first name}}", NULL,
               "t.html:1:3: \"first name\" is no name: a tag holds one name, such as {{first_name}} or "
               "{{cart.total}}");
  expect_error("t.html", "{{}}", NULL,
               "t.html:1:1: this tag is empty: write a name into it, such as {{first_name}}");
  expect_error(
      "t.html", "{{a..b}}", NULL,
      "t.html:1:1: \"a..b\" is no name: a tag holds one name, such as {{first_name}} or {{cart.total}}");
  expect_error("t.html", "{{#each items}}{{/each}}", NULL,
               "t.html:1:1: a section is named by its data alone: write {{#items}} … {{/items}}");
  expect_error("t.html", "{{#unless a}}{{/unless}}", NULL,
               "t.html:1:1: a section is named by its data alone: write {{^a}} … {{/a}}");
  expect_error("t.html", "{{#if a}}x{{else}}", NULL,
               "t.html:1:1: a section is named by its data alone: write {{#a}} … {{/a}}");
  expect_error(
      "t.html", "{{#a}}x{{else if b}}", NULL,
      "t.html:1:8: there is no else: close the section, and open {{^name}} … {{/name}} of the same name");
  expect_error("t.html", "{{=<%=}}", NULL,
               "t.html:1:1: new delimiters are two words without \"=\": write {{=<% %>=}}");
  expect_error("t.html", "{{=<% %>}}", NULL,
               "t.html:1:1: new delimiters end with \"=\" too: write {{=<% %>=}}");
  static partials some = {"footer", "{{#a}}",   "self", "x{{>self}}",
                          "one",    "{{>two}}", "two",  "y{{#a}}{{>two}}{{/a}}{{> one}}"};
  expect_error("t.html", "{{>foot}}", some, "t.html:1:1: there is no partial \"foot\"");
  expect_error("t.html", "{{>footre}}", some,
               "t.html:1:1: there is no partial \"footre\": did you mean {{> footer}}?");
  expect_error("t.html", "{{> a b}}", some,
               "t.html:1:1: \"a b\" is no partial's name: write it alone, as in {{> footer}}");
  expect_error("t.html", "\n{{>footer}}", some,
               "footer:1:1: {{#a}} is still open at the end, in line 1: write {{/a}} where the section ends");
  expect_error("t.html", "{{>self}}", some,
               "self:1:2: {{> self}} includes itself without end: put the tag into a section of the data it "
               "goes through, as in "
               "{{#children}}{{> self}}{{/children}}");
  expect_error("t.html", "{{>one}}", some,
               "two:1:22: {{> one}} includes itself without end: put the tag into a section of the data it "
               "goes through, as in "
               "{{#children}}{{> one}}{{/children}}");
  expect_error("t.xml", "", NULL, "t.xml: a template's name ends in .html, .txt or .json");
  expect_error("t.txt", "a\nb\xff", NULL, "t.txt:2: this is not UTF-8: save the file as UTF-8");
}

static void test_front_matter_errors(void **state) {
  (void)state;
  expect_error("t.html", "---\nsubject: x\n<p>\n", NULL,
               "t.html:3:1: \"<p>\" is no front matter: write `key: value` a line, such as subject: "
               "\"Hello\", and --- after the last");
  expect_error("t.html", "---\nsubject: x\n", NULL,
               "t.html:1:1: the front matter that begins here has no end: write --- on a line of its own "
               "after its last key");
  expect_error("t.html", "---\nsubject: {{name}}, hi\n---\n", NULL,
               "t.html:2:10: `{` has a meaning of its own here: put the value in quotes, as in subject: "
               "\"{{name}}, hi\"");
  expect_error("t.html", "---\na: 1\nb: 2\na: 3\n---\n", NULL,
               "t.html:4:1: a stands in line 2 already: keep one of them");
  expect_error(
      "t.html", "---\na: \"x\n---\n", NULL,
      "t.html:2:4: the quote that opens here is not closed on this line: write \" at the value's end");
  expect_error("t.html", "---\na: 'it's'\n---\n", NULL,
               "t.html:2:8: something follows the closing quote: inside of a value write '' for a quote");
  expect_error("t.html", "---\na: \"\\q\"\n---\n", NULL,
               "t.html:2:5: this escape is unknown: write \\\\ for a backslash, \\\" for a quote, or put the "
               "value in single quotes");
  expect_error(
      "t.html", "---\nsubject: \"{{#a}}\"\n---\n", NULL,
      "t.html:2:11: {{#a}} is still open at the end, in line 2: write {{/a}} where the section ends");
}

static char *repeat(const char *text, size_t times, const char *tail) {
  size_t len = strlen(text);
  char *all = memory_alloc(len * times + strlen(tail) + 1);
  for (size_t i = 0; i < times; i++) memcpy(all + i * len, text, len);
  strcpy(all + len * times, tail);
  return all;
}

/** Expects a rendering that is stopped by its bound. */
static void expect_limit(const char *text, const char *json, const char *const *partials,
                         const char *message) {
  struct output output;
  render(&output, "t.txt", text, json, partials);
  assert_int_equal(output.rc, ERROR_LIMIT);
  assert_string_equal(output.err.message, message);
  release(&output);
}

static void test_bounds(void **state) {
  (void)state;
  char *list = repeat("1,", 999, "1]}"), *json = repeat("", 0, "");
  json = memory_realloc(json, strlen(list) + 16);
  sprintf(json, "{\"l\":[%s", list);
  // A thousand, three times nested, of which each is eight bytes; nothing at all, seven times nested.
  expect_limit("{{#l}}{{#l}}{{#l}}xxxxxxxx{{/l}}{{/l}}{{/l}}", json, NULL,
               "t.txt: the message is larger than 4 MB");
  expect_limit("{{#l}}{{#l}}{{#l}}{{#l}}{{#l}}{{/l}}{{/l}}{{/l}}{{/l}}{{/l}}", json, NULL,
               "t.txt: its sections run too often for this data");
  static partials endless = {"p", "{{#l}}{{>p}}{{/l}}"};
  expect_limit("{{>p}}", "{\"l\":{}}", endless, "t.txt: sections and partials nest deeper than 1000");
  static partials wide = {"p", "                                {{>q}}\n", "q", "{{#l}}\n{{>p}}\n{{/l}}"};
  expect_limit("{{>p}}", "{\"l\":{}}", wide, "t.txt: partials are indented by more than 4096 characters");
  char *deep = repeat("{{#a}}", 100000, "");
  expect_error("t.txt", deep, NULL,
               "t.txt:1:385: sections nest deeper than 64: move the inner ones into a partial");
  char *tags = repeat("{{", 100000, "");
  expect_error("t.txt", tags, NULL,
               "t.txt:1:1: the tag that begins here has no end: write }}} behind its name");
  // Headers count too.
  expect_limit("---\nsubject: \"{{#l}}{{#l}}{{#l}}{{l}}{{/l}}{{/l}}{{/l}}\"\n---\n", json, NULL,
               "t.txt: the message is larger than 4 MB");
  memory_free(tags);
  memory_free(deep);
  memory_free(json);
  memory_free(list);
}

static void test_damaged_bundles(void **state) {
  (void)state;
  static partials partial = {"p", "{{x}}{{#y}}z{{/y}}"};
  struct buf bundle = {0};
  struct error err;
  assert_int_equal(template_bundle(STR("t.html"), STR("---\nsubject: \"{{s}}\"\n---\n{{a}}{{>p}}"),
                                   find_partial, (void *)(uintptr_t)partial, &bundle, &err),
                   0);
  for (size_t len = 0; len < bundle.len; len++) {
    char *cut = memory_dup((const char *)bundle.data, len);
    struct template *template;
    assert_true(template_new(&template, (struct str){cut, len}, &err) < 0);
    assert_null(template);
    memory_free(cut);
  }
  srand(1);
  for (int i = 0; i < 20000; i++) {
    char *bad = memory_dup((const char *)bundle.data, bundle.len);
    for (int j = 0; j <= i % 4; j++) bad[(size_t)rand() % bundle.len] = (char)rand();
    struct template *template;
    if (template_new(&template, (struct str){bad, bundle.len}, &err) == 0) template_free(template);
    memory_free(bad);
  }
  // The same sources are the same template, others are not.
  struct buf again = {0};
  assert_int_equal(template_bundle(STR("t.html"), STR("---\nsubject: \"{{s}}\"\n---\n{{a}}{{>p}}"),
                                   find_partial, (void *)(uintptr_t)partial, &again, &err),
                   0);
  assert_true(hash128_equal(template_hash(buf_str(&bundle)), template_hash(buf_str(&again))));
  static partials other = {"p", "{{x}}"};
  buf_clear(&again);
  assert_int_equal(template_bundle(STR("t.html"), STR("---\nsubject: \"{{s}}\"\n---\n{{a}}{{>p}}"),
                                   find_partial, (void *)(uintptr_t)other, &again, &err),
                   0);
  assert_false(hash128_equal(template_hash(buf_str(&bundle)), template_hash(buf_str(&again))));
  buf_deinit(&again);
  buf_deinit(&bundle);
}

/** Templates of random pieces: none may crash, and what compiles must render. */
static void test_random_templates(void **state) {
  (void)state;
  static const char *const pieces[] = {
      "{{",     "}}",     "{{{",    "}}}",         "#",     "/",     "^",    ">",     "!",      "=",
      "&",      "a",      "b",      ".",           " ",     "\n",    "\r\n", "{{a}}", "{{#a}}", "{{/a}}",
      "{{^b}}", "{{/b}}", "{{>p}}", "{{=<% %>=}}", "<%a%>", "---\n", "s: ",  "\"",    "'",      "x"};
  static partials partial = {"p", " {{a}}\n{{#b}}\n{{>p}}{{/b}}"};
  struct buf data = {0};
  parse("{\"a\":[1,{\"a\":2}],\"b\":[]}", &data);
  srand(2);
  unsigned rendered = 0;
  for (int i = 0; i < 30000; i++) {
    char text[256] = "";
    for (int j = rand() % 14; j >= 0; j--)
      strcat(text, pieces[(size_t)rand() % (sizeof pieces / sizeof pieces[0])]);
    struct output output;
    compile(&output, i % 2 ? "t.json" : "t.html", str_from(text), partial);
    if (output.rc == 0) {
      rendered++;
      assert_int_equal(template_render(output.template, buf_str(&data), &output.rendered, &output.err), 0);
    } else {
      assert_int_equal(output.rc, ERROR_SCRIPT);
    }
    release(&output);
  }
  assert_true(rendered > 1000);
  buf_deinit(&data);
}

static void expect_text(const char *html, const char *expected) {
  struct output output;
  char *text = memory_alloc(strlen(html) + 1);
  strcpy(text, html);
  render(&output, "t.html", text, "{}", NULL);
  assert_int_equal(output.rc, 0);
  expect_buf(html, &output.rendered.text, expected);
  release(&output);
  memory_free(text);
}

static void test_plain_text(void **state) {
  (void)state;
  expect_text("", "");
  expect_text("<h1>Still  thinking\nit over?</h1><p>A &amp; B</p>", "Still thinking it over?\n\nA & B\n");
  expect_text("<p>See <a href=\"https://a.example/x?a=1&amp;b=2\">the cart</a>.</p>",
              "See the cart <https://a.example/x?a=1&b=2>.\n");
  expect_text("<a href='https://a.example'>https://a.example</a> <a href=mailto:x@a.example>x@a.example</a> "
              "<a href='#top'>up</a>",
              "https://a.example x@a.example up\n");
  expect_text("<a href='/x'><img src=y alt='Buy &lt;now&gt;'></a>", "Buy <now> </x>\n");
  expect_text("<a href='/x'><img src=y></a>", "</x>\n");
  expect_text("<ul><li>one<li><p>two</p></li></ul>three", "- one\n- two\n\nthree\n");
  expect_text("a<br>b<br/><br>c<BR\n/>d", "a\nb\n\nc\nd\n");
  expect_text("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc\n");
  expect_text("<head><title>T</title><style>p { x: '</p>' }</style></head><script>if (a<b) {}</script><!-- "
              "<p>no</p> --><!doctype html>yes",
              "yes\n");
  expect_text("&copy; 2026 &ndash; &euro;5 &#8364;6 &#x20AC;7 &nbsp;x &zwnj;&shy;&bogus; &amp &; &#xD800; "
              "&#99999999999;",
              "© 2026 – €5 €6 €7  x &bogus; &amp &; � �\n");
  expect_text("1 < 2 > 1 <3 </ x>y", "1 < 2 > 1 <3 y\n");
  expect_text("a<hr>b", "a\n---\nb\n");
  expect_text("<pre>a\n  b\n\n\nc</pre>d", "a\n  b\n\n\nc\n\nd\n");
  expect_text("see <a href='/x'> here </a>now", "see here </x> now\n");
  expect_text("é <b>ü</b>ber", "é über\n");
  // Never closed.
  expect_text("a<!-- b", "a\n");
  expect_text("a<b c='d", "a\n");
  expect_text("a<script>b", "a\n");
  expect_text("a</", "a\n");
  expect_text("a<", "a<\n");
  expect_text("a<a href=x>b", "ab <x>\n");
}

/** What takes forever in a converter that looks twice. */
static void test_plain_text_is_linear(void **state) {
  (void)state;
  static const char *const patterns[] = {"<!--",  "<a href=\"", "<script>", "<",    "</",
                                         "&",     "<a href=x>", "<pre>",    "<li>", "<br>",
                                         "<x y=", "&#",         "<a b='\" "};
  for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
    char *text = repeat(patterns[i], 3000000 / strlen(patterns[i]), "");
    struct output output;
    render(&output, "t.html", text, "{}", NULL);
    assert_int_equal(output.rc, 0);
    release(&output);
    memory_free(text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_variables),
      cmocka_unit_test(test_sections),
      cmocka_unit_test(test_standalone_lines),
      cmocka_unit_test(test_delimiters),
      cmocka_unit_test(test_partials),
      cmocka_unit_test(test_json),
      cmocka_unit_test(test_front_matter),
      cmocka_unit_test(test_preheader),
      cmocka_unit_test(test_header_injection),
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_errors_teach),
      cmocka_unit_test(test_front_matter_errors),
      cmocka_unit_test(test_bounds),
      cmocka_unit_test(test_damaged_bundles),
      cmocka_unit_test(test_random_templates),
      cmocka_unit_test(test_plain_text),
      cmocka_unit_test(test_plain_text_is_linear),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
