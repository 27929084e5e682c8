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
      cmocka_unit_test(parts_are_kept_as_they_came),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
