#include "engine/bytecode.h"

#include "base/memory.h"

#include <stdint.h>

/** Opcodes of LuaJIT 2.1, as far as they matter here. */
enum {
  OP_MOV = 18,
  OP_LEN = 21,
  OP_ADDVN = 22,
  OP_POW = 37,
  OP_CAT = 38,
  OP_KSTR = 39,
  OP_KSHORT = 41,
  OP_KPRI = 43,
  OP_KNIL = 44,
  OP_UGET = 45,
  OP_USETV = 46,
  OP_USETP = 49,
  OP_UCLO = 50,
  OP_FNEW = 51,
  OP_TNEW = 52,
  OP_TDUP = 53,
  OP_GGET = 54,
  OP_GSET = 55,
  OP_TGETV = 56,
  OP_TGETR = 59,
  OP_TSETV = 60,
  OP_TSETS = 61,
  OP_TSETB = 62,
  OP_TSETR = 64,
  OP_CALLM = 65,
  OP_CALL = 66,
  OP_CALLMT = 67,
  OP_CALLT = 68,
  OP_VARG = 71,
  OP_ISNEXT = 72,
  OP_RETM = 73,
  OP_FORI = 77,
  OP_LAST_JUMP = 88 /**< FORI … JMP: loops and jumps; all have their target in D, but ITERC and ITERN, which
                       stand before */
};

enum {
  DUMP_VERSION = 2,
  DUMP_BIG_ENDIAN = 1,
  DUMP_STRIPPED = 2,
  DUMP_FFI = 4,
  DUMP_FR2 = 8,
  CONSTANT_CHILD = 0,
  CONSTANT_TABLE = 1,
  CONSTANT_STRING = 5, /**< and its length on top */
  CELL_INTEGER = 3,
  CELL_NUMBER = 4,
  CELL_STRING = 5,
  UPVALUE_LOCAL = 0x8000,
  JUMP_BIAS = 0x8000,
  PRIMITIVE_NIL = 0,
  SLOTS_MAX = 250,
  GUARD_SLOTS = 5 /**< function, frame, two arguments, one to spare */
};

static uint32_t op_of(uint32_t ins) {
  return ins & 0xff;
}
static uint32_t a_of(uint32_t ins) {
  return ins >> 8 & 0xff;
}
static uint32_t b_of(uint32_t ins) {
  return ins >> 24;
}
static uint32_t c_of(uint32_t ins) {
  return ins >> 16 & 0xff;
}
static uint32_t d_of(uint32_t ins) {
  return ins >> 16;
}
static uint32_t ins_ad(uint32_t op, uint32_t a, uint32_t d) {
  return op | a << 8 | d << 16;
}
static uint32_t ins_abc(uint32_t op, uint32_t a, uint32_t b, uint32_t c) {
  return op | a << 8 | c << 16 | b << 24;
}

/** One function of the dump. */
struct proto {
  uint8_t flags, parameters, slots, upvalues;
  uint32_t kgc_count, kn_count, code_count;
  uint64_t first_line, line_count;
  const uint8_t *code;              /**< 4 bytes an instruction, unaligned */
  const uint8_t *upvalue_data;      /**< 2 bytes an upvalue */
  struct str kgc, kn, lines, names; /**< names: of upvalues, then of variables */
  bool captured[256];               /**< registers that closures share */
};

/** Upvalues of the functions read so far that no parent has claimed yet. */
struct orphans {
  struct {
    const uint8_t *upvalue_data;
    uint8_t upvalues;
  } * items;
  size_t count, cap;
};

/** A garbage-collected constant. */
struct constant {
  uint32_t type;
  struct str text;                   /**< STRING */
  struct str template_name, channel; /**< TABLE: what it holds under these keys, if text */
};

struct rewrite {
  struct proto proto;
  struct constant *constants; /**< in the order of the dump: index D is constants[kgc_count - 1 - D] */
  size_t constants_cap;
  uint32_t *starts; /**< where each old instruction, with its guard, begins now */
  size_t starts_cap;
  bool *targets;   /**< instructions that something jumps to */
  uint8_t *guards; /**< instructions that go in front of each */
  struct orphans orphans;
  struct buf body;
  struct bytecode_notes *notes;
};

void bytecode_notes_init(struct bytecode_notes *notes) {
  *notes = (struct bytecode_notes){0};
}

void bytecode_notes_deinit(struct bytecode_notes *notes) {
  memory_free(notes->notes);
  bytecode_notes_init(notes);
}

static void note(struct bytecode_notes *notes, struct bytecode_note note) {
  if (notes->count == notes->cap) {
    notes->cap = notes->cap ? notes->cap * 2 : 32;
    notes->notes = memory_realloc(notes->notes, notes->cap * sizeof *notes->notes);
  }
  notes->notes[notes->count++] = note;
}

static uint32_t code_at(const struct proto *proto, uint32_t at) {
  uint32_t ins;
  memcpy(&ins, proto->code + 4 * (size_t)at, 4);
  return le32toh(ins);
}

static uint32_t line_at(const struct proto *proto, uint32_t at) {
  const uint8_t *lines = (const uint8_t *)proto->lines.data;
  if (proto->line_count < 256) return (uint32_t)proto->first_line + lines[at];
  if (proto->line_count < 65536)
    return (uint32_t)proto->first_line + lines[2 * at] + ((uint32_t)lines[2 * at + 1] << 8);
  uint32_t line;
  memcpy(&line, lines + 4 * (size_t)at, 4);
  return (uint32_t)proto->first_line + le32toh(line);
}

static size_t line_size(const struct proto *proto) {
  return proto->line_count < 256 ? 1 : proto->line_count < 65536 ? 2 : 4;
}

static struct str slice(const uint8_t *from, const uint8_t *to) {
  return (struct str){(const char *)from, (size_t)(to - from)};
}

/** A cell of a constant table. @return whether it is text. */
static bool read_cell(struct reader *reader, struct str *text) {
  uint64_t type = reader_varint(reader);
  if (type >= CELL_STRING) {
    *text = reader_bytes(reader, (size_t)(type - CELL_STRING));
    return true;
  }
  if (type == CELL_INTEGER || type == CELL_NUMBER) reader_varint(reader);
  if (type == CELL_NUMBER) reader_varint(reader);
  return false;
}

static void read_table(struct reader *reader, struct constant *constant) {
  struct str key, value;
  uint64_t array = reader_varint(reader), hash = reader_varint(reader);
  for (; array && !reader->bad; array--) read_cell(reader, &value);
  for (; hash && !reader->bad; hash--) {
    bool named = read_cell(reader, &key);
    bool text = read_cell(reader, &value);
    if (named && text && str_equal(key, STR("template"))) constant->template_name = value;
    if (named && text && str_equal(key, STR("channel"))) constant->channel = value;
  }
}

/** A child's upvalues that are this function's locals: such a register may change during any call. */
static int adopt(struct rewrite *rewrite) {
  if (!rewrite->orphans.count) return ERROR_VERSION;
  rewrite->orphans.count--;
  const uint8_t *data = rewrite->orphans.items[rewrite->orphans.count].upvalue_data;
  for (unsigned i = 0; i < rewrite->orphans.items[rewrite->orphans.count].upvalues; i++) {
    unsigned upvalue = data[2 * i] | (unsigned)data[2 * i + 1] << 8;
    if (upvalue & UPVALUE_LOCAL) rewrite->proto.captured[upvalue & 0xff] = true;
  }
  return 0;
}

static int read_constants(struct rewrite *rewrite, struct reader *reader) {
  struct proto *proto = &rewrite->proto;
  if (proto->kgc_count > reader_left(reader)) return ERROR_VERSION;
  if (proto->kgc_count > rewrite->constants_cap) {
    rewrite->constants_cap = proto->kgc_count;
    rewrite->constants =
        memory_realloc(rewrite->constants, rewrite->constants_cap * sizeof *rewrite->constants);
  }
  const uint8_t *from = reader->at;
  for (uint32_t i = 0; i < proto->kgc_count && !reader->bad; i++) {
    struct constant *constant = &rewrite->constants[i];
    uint64_t type = reader_varint(reader);
    *constant = (struct constant){.type = type > CONSTANT_STRING ? CONSTANT_STRING : (uint32_t)type};
    if (type >= CONSTANT_STRING)
      constant->text = reader_bytes(reader, (size_t)(type - CONSTANT_STRING));
    else if (type == CONSTANT_TABLE)
      read_table(reader, constant);
    else if (type != CONSTANT_CHILD || adopt(rewrite))
      return ERROR_VERSION;
  }
  proto->kgc = slice(from, reader->at);
  from = reader->at;
  // The first bit of a number says whether a second part follows; its framing is a varint's all the same.
  for (uint32_t i = 0; i < proto->kn_count && reader_left(reader) && !reader->bad; i++)
    for (int parts = *reader->at & 1 ? 2 : 1; parts; parts--) reader_varint(reader);
  proto->kn = slice(from, reader->at);
  return reader->bad ? ERROR_VERSION : 0;
}

static int read_proto(struct rewrite *rewrite, struct reader *reader) {
  struct proto *proto = &rewrite->proto;
  *proto = (struct proto){0};
  proto->flags = reader_u8(reader);
  proto->parameters = reader_u8(reader);
  proto->slots = reader_u8(reader);
  proto->upvalues = reader_u8(reader);
  proto->kgc_count = (uint32_t)reader_varint(reader);
  proto->kn_count = (uint32_t)reader_varint(reader);
  proto->code_count = (uint32_t)reader_varint(reader);
  uint64_t debug_len = reader_varint(reader);
  if (!debug_len) return ERROR_VERSION;
  proto->first_line = reader_varint(reader);
  proto->line_count = reader_varint(reader);
  proto->code = reader_take(reader, 4 * (size_t)proto->code_count);
  proto->upvalue_data = reader_take(reader, 2 * (size_t)proto->upvalues);
  if (reader->bad || read_constants(rewrite, reader)) return ERROR_VERSION;
  size_t lines = line_size(proto) * proto->code_count;
  if (debug_len < lines) return ERROR_VERSION;
  proto->lines = reader_bytes(reader, lines);
  proto->names = reader_bytes(reader, (size_t)debug_len - lines);
  return reader->bad || reader_left(reader) ? ERROR_VERSION : 0;
}

/* ---- deciding what to guard ---- */

static bool jumps(uint32_t op) {
  return op == OP_UCLO || op == OP_ISNEXT || (op >= OP_FORI && op <= OP_LAST_JUMP);
}

static bool target_of(const struct proto *proto, uint32_t at, uint32_t *target) {
  int64_t to = (int64_t)at + 1 + (int64_t)d_of(code_at(proto, at)) - JUMP_BIAS;
  *target = (uint32_t)to;
  return to >= 0 && to <= proto->code_count;
}

static void forget_from(bool *fresh, uint32_t first, uint32_t last) {
  for (uint32_t i = first; i <= last && i < 256; i++) fresh[i] = false;
}

/** Which registers hold a table that this function has made and not let out of its hands: nobody else can
 * have frozen it, or given it a metatable. True only along a straight run of code; what is not known is
 * forgotten. */
static void follow(const struct proto *proto, bool *fresh, uint32_t ins) {
  uint32_t op = op_of(ins), a = a_of(ins), b = b_of(ins), c = c_of(ins), d = d_of(ins);
  if (op == OP_TNEW || op == OP_TDUP) {
    fresh[a] = !proto->captured[a];
  } else if (op >= OP_CALLM && op <= OP_VARG) { // arguments, then results
    forget_from(fresh, a, 255);
  } else if (op == OP_KNIL) {
    forget_from(fresh, a, d);
  } else if (op >= OP_TSETV && op <= OP_TSETB) { // value and key leave, the table stays
    fresh[a] = false;
    if (op == OP_TSETV) fresh[c] = false;
  } else if ((op >= OP_KSTR && op <= OP_UGET) || op == OP_FNEW || op == OP_GGET ||
             (op > OP_TGETV && op < OP_TGETR)) {
    fresh[a] = false;
  } else if (op == OP_TGETV) {
    fresh[a] = fresh[c] = false;
  } else if (op == OP_CAT) {
    fresh[a] = false;
    forget_from(fresh, b, c);
  } else if (op >= OP_ADDVN && op <= OP_POW) { // operands may go to metamethods
    fresh[a] = fresh[b] = fresh[c] = false;
  } else if (op <= OP_LEN || op == OP_USETV || op == OP_GSET) { // tests, comparisons, copies
    fresh[a] = false;
    if (d < 256) fresh[d] = false;
  } else if (op > OP_USETV && op <= OP_USETP) {
    return; // a constant into an upvalue
  } else {
    forget_from(fresh, 0, 255);
  }
}

static struct str constant_text(const struct rewrite *rewrite, uint32_t index) {
  if (index >= rewrite->proto.kgc_count) return STR("");
  return rewrite->constants[rewrite->proto.kgc_count - 1 - index].text;
}

static void note_instruction(struct rewrite *rewrite, uint32_t at, uint32_t ins) {
  const struct proto *proto = &rewrite->proto;
  uint32_t op = op_of(ins);
  if (op == OP_GGET || op == OP_GSET)
    note(rewrite->notes, (struct bytecode_note){.type = op == OP_GGET ? BYTECODE_READS : BYTECODE_WRITES,
                                                .line = line_at(proto, at),
                                                .name = constant_text(rewrite, d_of(ins))});
  if (op == OP_TDUP && d_of(ins) < proto->kgc_count) {
    const struct constant *table = &rewrite->constants[proto->kgc_count - 1 - d_of(ins)];
    if (table->template_name.data && table->channel.data)
      note(rewrite->notes, (struct bytecode_note){.type = BYTECODE_SENDS,
                                                  .line = line_at(proto, at),
                                                  .name = table->template_name,
                                                  .channel = table->channel});
  }
}

/** Of the keys, the guard looks for one: __mode. */
static bool key_matters(const struct rewrite *rewrite, uint32_t ins) {
  uint32_t op = op_of(ins);
  return op == OP_TSETV || (op == OP_TSETS && str_equal(constant_text(rewrite, c_of(ins)), STR("__mode")));
}

/** Fill in `targets`, `guards` and `starts`. */
static int plan(struct rewrite *rewrite, uint32_t *total, bool *guarded) {
  const struct proto *proto = &rewrite->proto;
  if (proto->code_count + 1 > rewrite->starts_cap) {
    rewrite->starts_cap = proto->code_count + 1;
    rewrite->starts = memory_realloc(rewrite->starts, rewrite->starts_cap * sizeof *rewrite->starts);
    rewrite->targets = memory_realloc(rewrite->targets, rewrite->starts_cap * sizeof *rewrite->targets);
    rewrite->guards = memory_realloc(rewrite->guards, rewrite->starts_cap * sizeof *rewrite->guards);
  }
  memset(rewrite->targets, 0, rewrite->starts_cap * sizeof *rewrite->targets);
  for (uint32_t i = 0; i < proto->code_count; i++) {
    uint32_t target, op = op_of(code_at(proto, i));
    if (op > OP_LAST_JUMP) return ERROR_VERSION;
    if (!jumps(op)) continue;
    if (!target_of(proto, i, &target)) return ERROR_VERSION;
    rewrite->targets[target] = true;
  }
  bool fresh[256] = {false};
  uint32_t now = 0;
  *guarded = false;
  for (uint32_t i = 0; i < proto->code_count; i++) {
    uint32_t ins = code_at(proto, i), op = op_of(ins);
    if (rewrite->targets[i]) forget_from(fresh, 0, 255);
    rewrite->starts[i] = now;
    rewrite->guards[i] = 0;
    if (op >= OP_TSETV && op <= OP_TSETB && !fresh[b_of(ins)])
      rewrite->guards[i] = key_matters(rewrite, ins) ? 4 : 3;
    else if ((op >= OP_USETV && op <= OP_USETP) || op == OP_GSET)
      rewrite->guards[i] = 4;
    if (rewrite->guards[i]) *guarded = true;
    now += rewrite->guards[i] + (op == OP_CALLT || op == OP_CALLMT ? 2 : 1);
    follow(proto, fresh, ins);
    note_instruction(rewrite, i, ins);
  }
  rewrite->starts[proto->code_count] = now;
  *total = now;
  return 0;
}

/* ---- writing ---- */

static void put_guard(const struct rewrite *rewrite, uint32_t ins, struct buf *out) {
  uint32_t base = rewrite->proto.slots, op = op_of(ins);
  uint32_t name = rewrite->proto.kgc_count; // the constant that is added
  buf_put_u32(out, ins_ad(OP_GGET, base, name));
  if (op >= OP_TSETV && op <= OP_TSETB) {
    buf_put_u32(out, ins_ad(OP_MOV, base + 2, b_of(ins)));
    bool key = key_matters(rewrite, ins);
    if (key) buf_put_u32(out, ins_ad(op == OP_TSETV ? OP_MOV : OP_KSTR, base + 3, c_of(ins)));
    buf_put_u32(out, ins_abc(OP_CALL, base, 1, key ? 3 : 2));
    return;
  }
  buf_put_u32(out, ins_ad(OP_KPRI, base + 2, PRIMITIVE_NIL));
  buf_put_u32(out, op == OP_GSET ? ins_ad(OP_KSTR, base + 3, d_of(ins))
                                 : ins_ad(OP_KSHORT, base + 3, a_of(ins) + 1));
  buf_put_u32(out, ins_abc(OP_CALL, base, 1, 3));
}

static int put_code(const struct rewrite *rewrite, struct buf *out) {
  const struct proto *proto = &rewrite->proto;
  for (uint32_t i = 0; i < proto->code_count; i++) {
    uint32_t ins = code_at(proto, i), op = op_of(ins), target;
    if (rewrite->guards[i]) put_guard(rewrite, ins, out);
    if (op == OP_CALLT || op == OP_CALLMT) {
      buf_put_u32(out, ins_abc(op == OP_CALLT ? OP_CALL : OP_CALLM, a_of(ins), 0, d_of(ins)));
      buf_put_u32(out, ins_ad(OP_RETM, a_of(ins), 0));
      continue;
    }
    if (jumps(op)) {
      target_of(proto, i, &target);
      int64_t offset = (int64_t)rewrite->starts[target] - ((int64_t)rewrite->starts[i] + 1) + JUMP_BIAS;
      if (offset < 0 || offset > UINT16_MAX) return ERROR_LIMIT;
      ins = ins_ad(op, a_of(ins), (uint32_t)offset);
    }
    buf_put_u32(out, ins);
  }
  return 0;
}

/** A tail call has the line where its arguments end; an error shall name the one where its function stands.
 * @return the instruction that loaded the function. */
static uint32_t line_of_call(const struct proto *proto, uint32_t call) {
  uint32_t base = a_of(code_at(proto, call));
  for (uint32_t i = call; i--;) {
    uint32_t ins = code_at(proto, i), op = op_of(ins);
    bool loads = op == OP_MOV || op == OP_UGET || op == OP_FNEW || op == OP_GGET || op == OP_CALL ||
                 (op >= OP_TGETV && op <= OP_TGETR);
    if (loads && a_of(ins) == base) return i;
  }
  return call;
}

static void put_lines(const struct rewrite *rewrite, struct buf *out) {
  const struct proto *proto = &rewrite->proto;
  size_t size = line_size(proto);
  for (uint32_t i = 0; i < proto->code_count; i++) {
    uint32_t op = op_of(code_at(proto, i));
    uint32_t line = op == OP_CALLT || op == OP_CALLMT ? line_of_call(proto, i) : i;
    for (uint32_t copies = rewrite->starts[i + 1] - rewrite->starts[i]; copies; copies--)
      buf_append(out, proto->lines.data + size * line, size);
  }
}

/** A position counts from 1; up to one past the last instruction. */
static uint64_t moved(const struct rewrite *rewrite, uint64_t position) {
  if (position == 0 || position > rewrite->proto.code_count + (uint64_t)1) return position;
  return (uint64_t)rewrite->starts[position - 1] + 1;
}

static void skip_text(struct reader *reader) {
  while (reader_u8(reader)) {
  }
}

/** Names of upvalues, then each variable with where its life begins (from the one before) and how long it is.
 */
static int put_names(const struct rewrite *rewrite, struct buf *out) {
  enum { INTERNAL_NAMES = 7 };
  struct reader reader = reader_of(rewrite->proto.names);
  for (unsigned i = 0; i < rewrite->proto.upvalues; i++) skip_text(&reader);
  buf_append(out, rewrite->proto.names.data,
             (size_t)(reader.at - (const uint8_t *)rewrite->proto.names.data));
  uint64_t begin = 0, begin_before = 0;
  for (;;) {
    const uint8_t *name = reader.at;
    uint8_t first = reader_u8(&reader);
    if (first >= INTERNAL_NAMES) skip_text(&reader);
    if (reader.bad) return ERROR_VERSION;
    buf_append(out, name, (size_t)(reader.at - name));
    if (first == 0) return reader_left(&reader) ? ERROR_VERSION : 0;
    begin += reader_varint(&reader);
    uint64_t length = reader_varint(&reader);
    uint64_t begin_now = moved(rewrite, begin);
    buf_put_varint(out, begin_now - begin_before);
    buf_put_varint(out, moved(rewrite, begin + length) - begin_now);
    begin_before = begin_now;
  }
}

static int put_proto(struct rewrite *rewrite, struct buf *out) {
  const struct proto *proto = &rewrite->proto;
  uint32_t total;
  bool guarded;
  if (plan(rewrite, &total, &guarded)) return ERROR_VERSION;
  if (guarded && (proto->slots + GUARD_SLOTS > SLOTS_MAX || proto->kgc_count >= UINT16_MAX))
    return ERROR_LIMIT;
  struct buf debug;
  buf_init(&debug);
  put_lines(rewrite, &debug);
  int rc = put_names(rewrite, &debug);
  if (rc) goto cleanup;
  buf_put_u8(out, proto->flags);
  buf_put_u8(out, proto->parameters);
  buf_put_u8(out, (uint8_t)(proto->slots + (guarded ? GUARD_SLOTS : 0)));
  buf_put_u8(out, proto->upvalues);
  buf_put_varint(out, proto->kgc_count + guarded);
  buf_put_varint(out, proto->kn_count);
  buf_put_varint(out, total);
  buf_put_varint(out, debug.len);
  buf_put_varint(out, proto->first_line);
  buf_put_varint(out, proto->line_count);
  rc = put_code(rewrite, out);
  buf_append(out, proto->upvalue_data, 2 * (size_t)proto->upvalues);
  if (guarded) { // constants are dumped from the last index to the first
    buf_put_varint(out, CONSTANT_STRING + sizeof BYTECODE_GUARD - 1);
    buf_append(out, BYTECODE_GUARD, sizeof BYTECODE_GUARD - 1);
  }
  buf_append(out, proto->kgc.data, proto->kgc.len);
  buf_append(out, proto->kn.data, proto->kn.len);
  buf_append(out, debug.data, debug.len);
cleanup:
  buf_deinit(&debug);
  return rc;
}

static void leave_orphan(struct rewrite *rewrite) {
  struct orphans *orphans = &rewrite->orphans;
  if (orphans->count == orphans->cap) {
    orphans->cap = orphans->cap ? orphans->cap * 2 : 16;
    orphans->items = memory_realloc(orphans->items, orphans->cap * sizeof *orphans->items);
  }
  orphans->items[orphans->count].upvalue_data = rewrite->proto.upvalue_data;
  orphans->items[orphans->count++].upvalues = rewrite->proto.upvalues;
}

static int rewrite_protos(struct rewrite *rewrite, struct reader *reader, struct buf *out) {
  for (;;) {
    uint64_t len = reader_varint(reader);
    if (reader->bad) return ERROR_VERSION;
    if (len == 0) break;
    struct reader proto = reader_of(reader_bytes(reader, (size_t)len));
    if (reader->bad || read_proto(rewrite, &proto)) return ERROR_VERSION;
    buf_clear(&rewrite->body);
    int rc = put_proto(rewrite, &rewrite->body);
    if (rc) return rc;
    buf_put_varint(out, rewrite->body.len);
    buf_append(out, rewrite->body.data, rewrite->body.len);
    leave_orphan(rewrite);
  }
  buf_put_varint(out, 0);
  return reader_left(reader) ? ERROR_VERSION : 0;
}

int bytecode_guard(struct str dump, struct buf *out, struct bytecode_notes *notes, struct error *err) {
  static const char magic[] = {0x1b, 'L', 'J', DUMP_VERSION};
  struct reader reader = reader_of(dump);
  struct str head = reader_bytes(&reader, sizeof magic);
  uint64_t flags = reader_varint(&reader);
  if (flags & DUMP_FFI)
    return error_set(err, ERROR_SCRIPT,
                     "numbers ending in LL, ULL or i are not supported in rules; write a plain number");
  if (reader.bad || memcmp(head.data, magic, sizeof magic) != 0 || flags != DUMP_FR2)
    return error_set(err, ERROR_VERSION, "this LuaJIT's bytecode is not the one known here (2.1, 64-bit GC)");
  reader_str(&reader); // the chunk's name
  buf_append(out, dump.data, (size_t)(reader.at - (const uint8_t *)dump.data));
  struct rewrite rewrite = {.notes = notes};
  buf_init(&rewrite.body);
  int rc = rewrite_protos(&rewrite, &reader, out);
  if (rc == ERROR_LIMIT)
    error_set(err, ERROR_SCRIPT, "one function of this file is too large; split it");
  else if (rc)
    error_set(err, rc, "this LuaJIT's bytecode is not the one known here");
  buf_deinit(&rewrite.body);
  memory_free(rewrite.constants);
  memory_free(rewrite.starts);
  memory_free(rewrite.targets);
  memory_free(rewrite.guards);
  memory_free(rewrite.orphans.items);
  return rc == ERROR_LIMIT ? ERROR_SCRIPT : rc;
}

struct str bytecode_upvalue_slots(struct str dump) {
  struct reader reader = reader_of(dump), outermost = {0};
  reader_bytes(&reader, 4); // magic and version
  reader_varint(&reader);
  for (uint64_t len; (len = reader_varint(&reader)) && !reader.bad;)
    outermost = reader_of(reader_bytes(&reader, len)); // children stand before their parents
  reader_bytes(&outermost, 3);
  uint8_t upvalues = reader_u8(&outermost);
  reader_varint(&outermost);
  reader_varint(&outermost);
  uint64_t code_count = reader_varint(&outermost);
  reader_bytes(&outermost, 4 * code_count);
  struct str slots = reader_bytes(&outermost, 2 * (size_t)upvalues);
  return reader.bad || outermost.bad ? STR("") : slots;
}
