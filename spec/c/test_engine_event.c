// links: base config event state gate deliver engine
/* The event's table, whose parts come when they are asked for: whatever a rule does with it, it finds what
 * was sent. */
#include "test_engine_support.h"

static const char yaml[] =
    "rules:\n  budget: 500ms\n  memory: 16MB\n"
    "providers:\n  - name: mail\n    type: webhook\n    url: http://127.0.0.1:1/\n    secret_env: PATH\n"
    "routes:\n  email: mail\n";

static const int64_t NOW = 1760000000000;

static const char cart[] =
    "{\"cart\":{\"items\":[{\"sku\":\"A1\",\"price\":{\"net\":10,\"gross\":12}},{\"sku\":\"B2\"}],"
    "\"total\":19.5},\"tags\":[\"a\",\"b\"],\"none\":{},\"empty\":[],\"total\":44.5,\"city\":\"Wien\"}";

/** Run `body` on an event with that payload. */
static void assert_finds_in(const char *payload, const char *top, const char *body) {
  struct bench bench;
  bench_init(&bench, yaml);
  if (bench_rule(&bench, top, body)) fail_msg("%s", bench.err.message);
  for (int event = 0; event < 3; event++) { // what one event left must not be found by the next
    bench_json(&bench, "{\"source\":{\"name\":\"shop\"}}", &bench.metadata);
    bench_event(&bench, "x", payload, NOW + event);
    if (bench_run(&bench, 0)) fail_msg("%s", bench.err.message);
    if (bench_run(&bench, 0)) fail_msg("the second rule of an event: %s", bench.err.message);
  }
  bench_deinit(&bench);
}

static void assert_finds(const char *body) {
  assert_finds_in(cart, "", body);
}

static void fields_come_when_asked_for(void **state) {
  (void)state;
  assert_finds("assert(event.id == 'e1' and event.type == 'x' and event.user == 'ada')\n"
               "assert(event.subject == nil and event.nonsense == nil and event[1] == nil)\n"
               "assert(event.timestamp >= 1760000000000 and event.timestamp < 1760000000009)\n"
               "assert(event.metadata.source.name == 'shop' and event.metadata.target == nil)");
  assert_finds(
      "local p = event.payload\n"
      "assert(p.cart.items[1].price.gross == 12 and p.cart.items[2].sku == 'B2' and #p.cart.items == 2)\n"
      "assert(p.cart.items[2].price == nil and p.coupon == nil and p.total == 44.5)\n"
      "assert(p == event.payload and p.cart == p.cart and p.cart.items[1] == p.cart.items[1])\n"
      "assert(next(p.none) == nil and #p.empty == 0 and p.tags[2] == 'b')");
}

static void walks_find_everything(void **state) {
  (void)state;
  const char *names =
      "local function names(t) local list = {} for key in pairs(t) do list[#list + 1] = tostring(key) "
      "end return table.concat(list, ' ') end";
  assert_finds_in(cart, names,
                  "assert(names(event) == 'id metadata payload timestamp type user', names(event))\n"
                  "assert(names(event.payload) == 'cart city empty none tags total')\n"
                  "local touched = event.payload.cart.items[1]\n"
                  "assert(touched.price.net == 10)\n"
                  "assert(names(event.payload.cart) == 'items total' and names(touched) == 'price sku')");
  assert_finds_in(
      cart, names,
      "local _ = event.payload.tags\nassert(names(event.payload) == 'cart city empty none tags total')");
  assert_finds("assert(next(event) == 'id' and next(event.payload) == 'cart' and next(event.payload, 'none') "
               "== 'tags')");
  assert_finds(
      "assert(rawget(event, 'payload').city == 'Wien' and rawget(event.payload, 'cart').total == 19.5)\n"
      "assert(rawget(event, 'nothing') == nil)");
  assert_finds(
      "local wrapped = setmetatable({}, { __index = event.payload })\nassert(wrapped.cart.total == 19.5)");
  assert_finds("assert(getmetatable(event) == false and not pcall(setmetatable, event, {}))");
  assert_finds(
      "assert(not pcall(function() event.payload.cart.total = 1 end))\n"
      "assert(not pcall(function() event.payload.new = 1 end) and not pcall(rawset, event, 'id', 1))");
}

static void of_equal_keys_the_last_counts(void **state) {
  (void)state;
  assert_finds_in(
      "{\"a\":{\"x\":1},\"a\":5,\"b\":5,\"b\":{\"x\":2},\"c\":[1],\"c\":[2,3],\"d\":{},\"d\":null}", "",
      "local p = event.payload\n"
      "assert(p.a == 5 and p.b.x == 2 and #p.c == 2 and p.d == nil)");
  assert_finds_in(
      "{\"a\":{\"x\":1},\"a\":5,\"b\":5,\"b\":{\"x\":2},\"c\":[1],\"c\":[2,3],\"d\":{},\"d\":null}", "",
      "local found = {}\nfor key, value in pairs(event.payload) do found[key] = value end\n"
      "assert(found.a == 5 and found.b.x == 2 and found.c[2] == 3 and found.d == nil)");
}

/** More than are left out at a time. */
static void many_maps_are_all_there(void **state) {
  (void)state;
  struct buf payload;
  buf_init(&payload);
  buf_append(&payload, "{", 1);
  for (int i = 0; i < 200; i++) buf_printf(&payload, "%s\"k%d\":{\"deep\":{\"n\":%d}}", i ? "," : "", i, i);
  buf_append(&payload, "}", 2);
  assert_finds_in((const char *)payload.data, "",
                  "for i = 199, 0, -1 do assert(event.payload['k' .. i].deep.n == i) end");
  assert_finds_in((const char *)payload.data, "",
                  "local count = 0\nfor key, value in pairs(event.payload) do\n"
                  "assert('k' .. value.deep.n == key)\ncount = count + 1\nend\nassert(count == 200)");
  buf_deinit(&payload);
}

/** Fields are looked up until a rule has asked so often that they are put in. */
static void what_is_asked_again_stays_the_same(void **state) {
  (void)state;
  assert_finds(
      "local p, items = event.payload, nil\n"
      "for i = 1, 30 do\n"
      "  assert(p.total == 44.5 and p.city == 'Wien' and p.coupon == nil and event.nonsense == nil)\n"
      "  assert(event.id == 'e1' and event.type == 'x' and event.user == 'ada' and event.payload == p)\n"
      "  items = items or p.cart.items\n"
      "  assert(p.cart.items == items and event.metadata.source == event.metadata.source)\n"
      "  assert(event.timestamp >= 1760000000000 and event.timestamp < 1760000000009)\n"
      "end\n"
      "local tags = p.tags\n"
      "assert(next(p) == 'cart' and p.cart.items == items and p.tags == tags and rawget(p, 'tags') == tags)\n"
      "assert(next(event) == 'id' and rawget(event, 'payload') == p and rawget(p, 'city') == 'Wien')\n"
      "assert(p.total == 44.5 and p.coupon == nil and event.subject == nil and p[1] == nil)");
}

/** As a table that holds all of it. */
static void the_payload_is_a_table(void **state) {
  (void)state;
  assert_finds(
      "local p = event.payload\n"
      "assert(type(p) == 'table' and tostring(p) == 'table' and #p == 0 and rawequal(p, event.payload))\n"
      "for _ in ipairs(p) do error('an element') end\n"
      "assert(unpack(p) == nil and table.concat(p) == '' and getmetatable(p) == false)\n"
      "assert(('city: %w'):gsub('%a+', p) == 'Wien: %w' and not pcall(setmetatable, p, {}))\n"
      "for _, change in ipairs { function() p.city = 'Graz' end, function() p.new = 1 end,\n"
      "  function() rawset(p, 'city', 1) end, function() table.insert(p, 1) end, function() table.sort(p) "
      "end,\n"
      "  function() p[1] = 1 end, function() event.id = 1 end, function() event.payload = {} end } do\n"
      "  local done, why = pcall(change)\n"
      "  assert(not done and why:find('the event and the profile are read-only', 1, true), why)\n"
      "end\n"
      "assert(p.city == 'Wien' and p.new == nil and p[1] == nil and event.id == 'e1')");
  assert_finds("local copy = {}\nfor key, value in pairs(event.payload) do copy[key] = value end\n"
               "copy.city = 'Graz'\nassert(copy.total == 44.5 and event.payload.city == 'Wien')");
}

/** Nothing is found of the event before, whatever its shape was and however it was looked at. */
static void each_event_has_its_own(void **state) {
  (void)state;
  static const char *const looks[] = {
      "", "local _ = event.payload.b", "local _ = event.payload.a, event.payload.c",
      "for _ = 1, 20 do local _ = event.payload.a, event.payload.b, event.id, event.metadata end",
      "for _ in pairs(event.payload) do end for _ in pairs(event) do end"};
  enum { LOOKS = sizeof looks / sizeof *looks, SHAPES = 5 };
  struct buf large;
  struct str found;
  buf_init(&large);
  for (int i = 0; i < 40; i++) buf_printf(&large, "%s\"k%d\":%d", i ? "," : "{\"b\":[7],", i, i);
  buf_append(&large, "}", 2);
  const char *const payloads[SHAPES] = {"{\"a\":1,\"b\":[2]}", "{\"b\":{\"x\":3},\"c\":\"4\"}", "{}",
                                        (const char *)large.data, "{\"a\":null,\"d\":[]}"};
  for (int look = 0; look < LOOKS; look++) {
    struct bench bench;
    char body[600];
    snprintf(body, sizeof body,
             "local p, seen = event.payload, {}\n%s\n"
             "user:set('kept', p)\n"
             "user:set('seen', tostring(p.a) .. type(p.b) .. tostring(p.c) .. type(p.d) .. tostring(p.k39))\n"
             "for key in pairs(p) do seen[#seen + 1] = key end\nuser:set('keys', #seen)",
             looks[look]);
    bench_init(&bench, yaml);
    if (bench_rule(&bench, "", body)) fail_msg("%s", bench.err.message);
    static const char *const seen[SHAPES] = {"1tablenilnilnil", "niltable4nilnil", "nilnilnilnilnil",
                                             "niltablenilnil39", "nilnilniltablenil"};
    static const int keys[SHAPES] = {2, 2, 0, 41, 1};
    for (int at = 0; at < SHAPES * SHAPES * 2; at++) {
      int shape = at % 2 ? at / 2 % SHAPES : at / 2 / SHAPES;
      bench_event(&bench, "x", payloads[shape], NOW + at);
      if (bench_run(&bench, 0)) fail_msg("%s", bench.err.message);
      assert_true(record_attribute(&bench.record, STR("seen"), &found));
      struct str text = value_head(found).string;
      if (!str_equal(text, str_from(seen[shape])))
        fail_msg("look %d, shape %d: %.*s", look, shape, STR_ARG(text));
      assert_true(record_attribute(&bench.record, STR("keys"), &found));
      assert_int_equal(value_head(found).integer, keys[shape]);
      assert_true(record_attribute(&bench.record, STR("kept"), &found));
      assert_true(str_equal(found, buf_str(&bench.payload)));
    }
    bench_deinit(&bench);
  }
  buf_deinit(&large);
}

/** Touching is no change: what is kept of a part is the same whether it was looked at or not. */
static void parts_are_kept_as_they_came(void **state) {
  (void)state;
  const char *const bodies[] = {
      "user:set('kept', event.payload)",
      "local _ = event.payload.cart.items[1].price.net\nuser:set('kept', event.payload)",
      "user:set('cart', event.payload.cart)",
      "local _ = event.payload.cart.items[1].price.net\nuser:set('cart', event.payload.cart)",
  };
  struct buf json[4];
  for (int i = 0; i < 4; i++) {
    struct bench bench;
    struct str value;
    bench_init(&bench, yaml);
    if (bench_rule(&bench, "", bodies[i])) fail_msg("%s", bench.err.message);
    bench_event(&bench, "x", cart, NOW);
    if (bench_run(&bench, 0)) fail_msg("%s", bench.err.message);
    assert_true(record_attribute(&bench.record, i < 2 ? STR("kept") : STR("cart"), &value));
    buf_init(&json[i]);
    value_to_json(value, &json[i]);
    bench_deinit(&bench);
  }
  assert_true(str_equal(buf_str(&json[0]), buf_str(&json[1])));
  assert_true(str_equal(buf_str(&json[2]), buf_str(&json[3])));
  assert_int_equal(json[0].len, strlen(cart));
  for (int i = 0; i < 4; i++) buf_deinit(&json[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fields_come_when_asked_for),    cmocka_unit_test(walks_find_everything),
      cmocka_unit_test(of_equal_keys_the_last_counts), cmocka_unit_test(many_maps_are_all_there),
      cmocka_unit_test(parts_are_kept_as_they_came),   cmocka_unit_test(what_is_asked_again_stays_the_same),
      cmocka_unit_test(the_payload_is_a_table),        cmocka_unit_test(each_event_has_its_own),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
