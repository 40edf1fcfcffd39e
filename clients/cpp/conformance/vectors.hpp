// Writes and reads every vector of tests/conformance/vectors. One line for each vector, as
// clients/README.md has it.

#pragma once

#include <fstream>
#include <sstream>

#include "notation.hpp"

namespace vectors {

using namespace rlay;
using namespace rlay::detail;

inline std::string problem;  // of the vector that is being compared

inline void fail(const std::string& what, const std::string&, const std::string& why) {
  if (problem.empty()) problem = what + ": " + why;
}

/// Says how a vector fared, at the end of its scope.
class Line {
 public:
  Line(const char* file, const rlay::Value& vector) : id_(std::string(file) + "/" + vector.find("name")->text()) {
    problem.clear();
  }
  ~Line() {
    if (!reason_.empty()) {
      std::printf("unsupported\t%s\t%s\n", id_.c_str(), reason_.c_str());
    } else if (problem.empty()) {
      std::printf("ok\t%s\n", id_.c_str());
    } else {
      std::printf("fail\t%s\t%s\n", id_.c_str(), problem.c_str());
    }
  }
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  void unsupported(const char* reason) { reason_ = reason; }

 private:
  std::string id_;
  std::string reason_;
};

inline void same(const std::string& what, const std::string& name, const std::string& ours,
          const std::string& theirs) {
  if (ours != theirs) fail(what, name, "ours " + ours + ", theirs " + theirs);
}

inline void same(const std::string& what, const std::string& name, const Value& ours, const Value& theirs) {
  const auto text = [](const Value& value) {
    Bytes bytes;
    const Status status = ValueEncoder(bytes, true).encode(value);
    return status ? to_hex(bytes.data(), bytes.size()) : status.message();
  };
  same(what, name, text(ours), text(theirs));
  if (ours != theirs) fail(what, name, "the same bytes, but another value");
}

inline bool fine(const std::string& what, const std::string& name, const Status& status) {
  if (!status) fail(what, name, status.message());
  return status.ok();
}

inline Value load(const std::string& directory, const char* file) {
  std::ifstream stream(directory + "/" + file);
  std::stringstream text;
  text << stream.rdbuf();
  if (!stream) {
    std::fprintf(stderr, "cannot read %s/%s\n", directory.c_str(), file);
    std::exit(2);
  }
  return Json::parse(text.str());
}

inline const std::vector<Value>& group(const Value& file, const char* name) {
  const Value* found = file.find(name);
  if (!found || found->size() == 0) {
    std::fprintf(stderr, "there are no vectors %s\n", name);
    std::exit(2);
  }
  return found->items();
}

inline const Value& at(const Value& map, const char* key) {
  const Value* found = map.find(key);
  if (!found) {
    std::fprintf(stderr, "a vector lacks %s\n", key);
    std::exit(2);
  }
  return *found;
}

inline uint64_t id_of(const Value& vector, const char* key) {
  return std::strtoull(at(vector, key).text().c_str(), nullptr, 16);
}

// --- values, numbers, spaces ----------------------------------------------------------

inline void check_value(const Value& vector, bool big_integers) {
  const std::string& name = at(vector, "name").text();
  const Value value = from_notation(at(vector, "value"));
  const std::string& hex = at(vector, "hex").text();
  Bytes written;
  if (fine("value written", name, ValueEncoder(written, big_integers).encode(value))) {
    same("value written", name, to_hex(written.data(), written.size()), hex);
  }
  const Bytes bytes = from_hex(hex);
  Value read;
  if (fine("value read", name, ValueDecoder(bytes.data(), bytes.size(), big_integers).whole(read))) {
    same("value read", name, read, value);
  }
  if (big_integers && ValueDecoder(bytes.data(), bytes.size()).whole(read)) {
    fail("value read", name, "an integer beyond 64 bits was taken outside of a RESET");
  }
}

inline void check_values(const std::string& directory) {
  const Value file = load(directory, "values.json");
  for (const Value& vector : group(file, "values")) {
    const Line verdict("values", vector);
    check_value(vector, false);
  }
  for (const Value& vector : group(file, "in a RESET only")) {
    const Line verdict("values", vector);
    check_value(vector, true);
  }
  for (const Value& vector : group(file, "refused")) {
    const Line verdict("values", vector);
    const Bytes bytes = from_hex(at(vector, "hex").text());
    Value read;
      if (ValueDecoder(bytes.data(), bytes.size()).whole(read)) {
      fail("value refused", at(vector, "name").text(), at(vector, "why").text());
    }
  }
}

inline void check_numbers(const std::string& directory) {
  const Value file = load(directory, "numbers.json");
  for (const Value& vector : group(file, "numbers")) {
    const Line verdict("numbers", vector);
    const std::string& name = at(vector, "name").text();
    const Value value = from_notation(at(vector, "value"));
    uint8_t cell[8];
    std::memset(cell, 0xFF, sizeof cell);
    const uint32_t code = store_number(value, cell);
    same("number's code", name, std::to_string(code), std::to_string(at(vector, "code").integer()));
    same("number", name, to_hex(cell, 8), at(vector, "hex").text());
    Value read;
    if (!load_number(code, cell, read)) fail("number read", name, "refused");
    same("number read", name, read, value);
  }
}

inline void check_spaces(const std::string& directory) {
  const Value file = load(directory, "spaces.json");
  for (const Value& vector : group(file, "spaces")) {
    const Line verdict("spaces", vector);
    const std::string& name = at(vector, "name").text();
    const Value description = from_notation(at(vector, "description"));
    auto space = Space::parse(description);
    if (!fine("space", name, space.status())) continue;
    Bytes written;
    if (!fine("space", name, ValueEncoder(written).encode(space.value().describe()))) continue;
    same("space", name, to_hex(written.data(), written.size()), at(vector, "hex").text());
    const Value& layouts = at(vector, "layouts");
    const struct {
      const char* name;
      Batch batch;
      bool reports;
    } cases[] = {{"of one environment", {false, 1}, true},
                 {"of one environment", {false, 1}, false},
                 {"of reports of three", {true, 3}, true},
                 {"of decisions of three", {true, 3}, false}};
    for (const auto& one : cases) {
      auto layout = compile_layout(space.value(), one.batch, one.reports);
      if (!fine("layout", name, layout.status())) continue;
      same(std::string("layout ") + one.name, name, layout.value().table(), at(layouts, one.name));
    }
  }
}

// --- messages -------------------------------------------------------------------------

/// What a vector is about: the session, and a message as its slot has it.
struct Subject {
  std::string name;
  Agreement agreement;
  uint32_t sequence;
  MessageHeader header;
  Bytes header_bytes;
  Bytes payload;
  Value says;

  Message message() const {
    Message it;
    it.header = header;
    it.payload = payload.data();
    it.size = payload.size();
    return it;
  }
  Value said(const char* key) const { return from_notation(at(says, key)); }
};

inline bool prepare(const Value& vector, bool decision, Subject& it) {
  it.name = at(vector, "name").text();
  auto space = Space::parse(from_notation(at(vector, "space")));
  if (!fine("message", it.name, space.status())) return false;
  const Batch batch{at(vector, "batched").boolean(),
                    static_cast<uint32_t>(at(vector, "num_envs").integer())};
  const Space nothing;
  auto agreement = decision ? Agreement::compile(nothing, space.value(), batch)
                            : Agreement::compile(space.value(), nothing, batch);
  if (!fine("message", it.name, agreement.status())) return false;
  it.agreement = std::move(agreement.value());
  it.sequence = static_cast<uint32_t>(at(vector, "sequence").integer());
  it.says = at(vector, "says");
  it.payload = from_hex(at(vector, "payload").text());
  if (const Value* header = vector.find("header")) {
    it.header_bytes = from_hex(header->text());
    std::memcpy(&it.header, it.header_bytes.data(), sizeof it.header);
  }
  return true;
}

/// A writer's slot, and what it published.
struct Bench final : Carrier {
  Bytes memory;
  size_t capacity;
  SlotSession session;
  Slot slot;
  std::vector<Bytes> headers;
  std::vector<Bytes> payloads;
  uint32_t sequence = 0;

  Bench(size_t room, const Value& vector) : memory(Slot::bytes(room) + 64), capacity(room) {
    auto* aligned_memory = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
    slot = Slot{aligned_memory, room};
    session.begin(slot, slot, this, default_max_message_bytes);
    session.stamp(id_of(vector, "incarnation"), id_of(vector, "session"));
  }
  void published(const Slot& it) override {
    const uint32_t index = it.published().load() & 1;
    MessageHeader header;
    std::memcpy(&header, it.buffer(index), sizeof header);
    headers.emplace_back(it.buffer(index), it.buffer(index) + sizeof header);
    payloads.emplace_back(it.payload(index), it.payload(index) + header.payload_bytes);
    it.taken().store(it.published().load());
  }
  void taken(const Slot&) override {}
  Status wait(const Slot&, Word, uint32_t, Deadline&) override { return timed_out("nothing is taken"); }
  Status check() override { return Status(); }
};

inline Status write_report(ReportWriter& writer, const std::string& kind, const Subject& it, Draft& draft) {
  if (kind == "READY") return writer.ready(draft);
  if (kind == "RESET_RESULT") return writer.reset_result(draft, First{it.said("observation"), it.said("info")});
  if (kind == "TRANSITION") {
    return writer.transition(draft, Transition{it.said("observation"), it.said("reward"), it.said("terminated"),
                                               it.said("truncated"), it.said("info")});
  }
  if (kind == "CALL_RESULT") return writer.call_result(draft, it.said("value"));
  return writer.failure(draft, Status(static_cast<Code>(it.said("code").integer()), it.said("message").text())
                                   .with_remote(it.said("type").text(), it.said("traceback").text()));
}

inline Status write_decision(const DecisionWriter& writer, const std::string& kind, const Subject& it, Draft& draft) {
  if (kind == "RESET") {
    return writer.reset(draft, ResetRequest{it.said("seed"), it.said("options"), it.said("mask")});
  }
  if (kind == "STEP") {
    const Value* mask = it.says.find("reset_mask");
    return writer.step(draft, it.said("action"), mask ? from_notation(*mask) : Value());
  }
  if (kind == "CALL") {
    return writer.call(draft, Call{static_cast<Call::Operation>(it.said("operation").integer()),
                                   it.said("name").text(), it.said("args"), it.said("kwargs")});
  }
  return writer.close(draft, static_cast<Reason>(it.said("reason").integer()));
}

inline void check_written(const Value& vector, bool decision, const Subject& it) {
  const std::string& kind = at(vector, "kind").text();
  Bench bench(1 << 20, vector);
  ReportWriter reports(it.agreement, true, true);
  const DecisionWriter decisions(it.agreement);
  const int64_t before = at(vector, "said before").integer();
  const auto kinds = {std::pair<const char*, MessageKind>{"RESET", MessageKind::reset},
                      {"STEP", MessageKind::step}, {"CALL", MessageKind::call},
                      {"CLOSE", MessageKind::close}, {"READY", MessageKind::ready},
                      {"RESET_RESULT", MessageKind::reset_result},
                      {"TRANSITION", MessageKind::transition},
                      {"CALL_RESULT", MessageKind::call_result}, {"FAILURE", MessageKind::failure}};
  MessageKind number = MessageKind::hello;
  for (const auto& one : kinds) number = kind == one.first ? one.second : number;
  Draft draft;
  for (int64_t i = 0; i <= before; ++i) {
    bench.session.draft(draft, number, it.sequence);
    if (!fine("message written", it.name,
              decision ? write_decision(decisions, kind, it, draft) : write_report(reports, kind, it, draft))) {
      return;
    }
  }
  Deadline deadline(1.0);
  if (!fine("message written", it.name, bench.session.send(it.sequence, draft, deadline))) return;
  same("header written", it.name, to_hex(bench.headers.back().data(), 64), at(vector, "header").text());
  same("payload written", it.name, to_hex(bench.payloads.back().data(), bench.payloads.back().size()),
       at(vector, "payload").text());
}

inline void check_read(const Value& vector, const Subject& it, const Message& message) {
  const std::string& kind = at(vector, "kind").text();
  const std::string what = "message read";
  const auto said = [&](const char* key, const Value& value) { same(what, it.name + "." + key, value, it.said(key)); };
  same(what, it.name, std::to_string(message.header.sequence), std::to_string(it.sequence));
  if (message.header.incarnation != id_of(vector, "incarnation") ||
      message.header.session != id_of(vector, "session")) {
    fail(what, it.name, "other ids");
  }
  const DecisionReader decisions(it.agreement);
  const ReportReader reports(it.agreement);
  if (kind == "RESET") {
    ResetRequest reset;
    if (!fine(what, it.name, decisions.reset(message, reset))) return;
    said("seed", reset.seed), said("options", reset.options), said("mask", reset.mask);
  } else if (kind == "STEP") {
    Value action, mask;
    if (!fine(what, it.name, decisions.step(message, action, mask))) return;
    said("action", action);
    if (it.says.find("reset_mask")) said("reset_mask", mask);
  } else if (kind == "CALL") {
    Call call;
    if (!fine(what, it.name, DecisionReader::call(message, call))) return;
    said("operation", static_cast<int>(call.operation)), said("name", call.name);
    said("args", call.args), said("kwargs", call.kwargs);
  } else if (kind == "CLOSE") {
    Reason reason;
    if (!fine(what, it.name, DecisionReader::close(message, reason))) return;
    said("reason", static_cast<int64_t>(reason));
  } else if (kind == "RESET_RESULT") {
    First first;
    if (!fine(what, it.name, reports.reset_result(message, first))) return;
    said("observation", first.observation), said("info", first.info);
  } else if (kind == "TRANSITION") {
    Transition transition;
    if (!fine(what, it.name, reports.transition(message, transition))) return;
    said("observation", transition.observation), said("reward", transition.reward);
    said("terminated", transition.terminated), said("truncated", transition.truncated);
    said("info", transition.info);
  } else if (kind == "CALL_RESULT") {
    Value value;
    if (!fine(what, it.name, ReportReader::call_result(message, value))) return;
    said("value", value);
  } else if (kind == "FAILURE") {
    const Status failure = ReportReader::failure(message);
    said("code", static_cast<int64_t>(failure.code())), said("message", failure.message());
    said("type", failure.type()), said("traceback", failure.traceback());
  } else if (kind != "READY") {
    fail(what, it.name, "an unknown kind of message");
  }
}

inline void check_messages(const std::string& directory) {
  const Value decisions = load(directory, "decisions.json");
  const Value reports = load(directory, "reports.json");
  for (const bool decision : {true, false}) {
    for (const Value& vector : group(decision ? decisions : reports, decision ? "decisions" : "reports")) {
      const Line verdict(decision ? "decisions" : "reports", vector);
      Subject it;
      if (!prepare(vector, decision, it)) continue;
      check_written(vector, decision, it);
      check_read(vector, it, it.message());
    }
  }
}

inline void check_parts(const std::string& directory) {
  const Value file = load(directory, "parts.json");
  for (const Value& vector : group(file, "parts")) {
    const Line verdict("parts", vector);
    Subject it;
    if (!prepare(vector, false, it)) continue;
    const auto capacity = static_cast<size_t>(at(vector, "capacity").integer());
    const Value& parts = at(vector, "parts");
    // Written: a draft of the whole payload, which exceeds the slot.
    Bench bench(capacity, vector);
    Draft draft;
    MessageHeader first;
    const Bytes head = from_hex(at(parts[0], "header").text());
    std::memcpy(&first, head.data(), sizeof first);
    bench.session.draft(draft, static_cast<MessageKind>(first.kind & kind_mask), it.sequence);
    ReportWriter writer(it.agreement, true, true);
    if (!fine("parts", it.name, write_report(writer, at(vector, "kind").text(), it, draft))) continue;
    same("parts", it.name, to_hex(draft.overflow.data(), draft.overflow.size()), at(vector, "payload").text());
    Deadline deadline(1.0);
    if (!fine("parts", it.name, bench.session.send(it.sequence, draft, deadline))) continue;
    same("parts", it.name, std::to_string(bench.headers.size()), std::to_string(parts.size()));
    for (size_t i = 0; i < parts.size() && i < bench.headers.size(); ++i) {
      same("part's header", it.name, to_hex(bench.headers[i].data(), 64), at(parts[i], "header").text());
      same("part", it.name, to_hex(bench.payloads[i].data(), bench.payloads[i].size()), at(parts[i], "payload").text());
    }
    // Read: the parts one by one.
    Bench reader(capacity, vector);
    Message message;
    bool there = false;
    for (size_t i = 0; i < parts.size(); ++i) {
      const Bytes header = from_hex(at(parts[i], "header").text());
      const Bytes payload = from_hex(at(parts[i], "payload").text());
      std::memcpy(reader.slot.buffer(it.sequence & 1), header.data(), header.size());
      std::memcpy(reader.slot.payload(it.sequence & 1), payload.data(), payload.size());
      reader.slot.published().store(static_cast<uint32_t>(2 * (i + 1)) | (it.sequence & 1));
      if (!fine("parts read", it.name, reader.session.receive_nowait(message, there))) break;
      if (there != (i + 1 == parts.size())) fail("parts read", it.name, "whole too soon, or not at all");
    }
    if (there) check_read(vector, it, message);
  }
}

inline void check_greetings(const std::string& directory) {
  const Value file = load(directory, "greetings.json");
  for (const Value& vector : group(file, "greetings")) {
    const Line verdict("greetings", vector);
    const std::string& name = at(vector, "name").text();
    const std::string& kind = at(vector, "kind").text();
    const Bytes bytes = from_hex(at(vector, "hex").text());
    Message message;
    message.payload = bytes.data();
    message.size = bytes.size();
    Bytes written;
    if (kind == "HELLO") {
      Hello hello;
      if (!fine("greeting read", name, decode(message, hello))) continue;
      Facts facts;
      Wishes wishes;
      if (!hello.environment.is_nil() && fine("greeting read", name, unpack_facts(hello.environment, facts))) {
        auto packed = facts.pack();
        if (fine("facts", name, packed.status())) hello.environment = packed.value();
      }
      if (!hello.wishes.is_nil() && fine("greeting read", name, unpack_wishes(hello.wishes, wishes))) {
        hello.wishes = wishes.pack();
      }
      if (!fine("greeting written", name, encode(hello, written))) continue;
    } else if (kind == "WELCOME") {
      Welcome welcome;
      if (!fine("greeting read", name, decode(message, welcome))) continue;
      Facts facts;
      Wishes wishes;
      if (!welcome.environment.is_nil() && fine("greeting read", name, unpack_facts(welcome.environment, facts))) {
        auto packed = facts.pack();
        if (fine("facts", name, packed.status())) welcome.environment = packed.value();
      }
      if (!welcome.wishes.is_nil() && fine("greeting read", name, unpack_wishes(welcome.wishes, wishes))) {
        welcome.wishes = wishes.pack();
      }
      if (!fine("greeting written", name, encode(welcome, written))) continue;
    } else {
      const Status refusal = decode_refusal(message);
      if (!fine("greeting written", name, encode_refusal(refusal, written))) continue;
    }
    same("greeting", name, to_hex(written.data(), written.size()), at(vector, "hex").text());
  }
}

#if RLAY_MAPPED_FILES
inline Bytes file_of(const Value& image) {
  Bytes bytes(static_cast<size_t>(at(image, "size").integer()));
  const Value& lines = at(image, "lines");
  for (size_t i = 0; i < lines.size(); ++i) {
    const Bytes line = from_hex(lines[i].text());
    std::memcpy(bytes.data() + std::strtoull(lines.key(i).c_str(), nullptr, 10), line.data(), line.size());
  }
  return bytes;
}

inline const char* state_name(EndState state) {
  constexpr const char* names[] = {"ABSENT", "ALIVE", "LINK_DOWN", "LOST", "CLOSED"};
  return names[static_cast<size_t>(state)];
}

inline void check_slots(const std::string& directory) {
  const Value file = load(directory, "slots.json");
  for (const Value& vector : group(file, "slots")) {
    const Line verdict("slots", vector);
    const std::string& name = at(vector, "name").text();
    const Value& says = at(vector, "says");
    const Value& files = at(vector, "files");
    Bytes header = file_of(at(files, "header"));
    auto paradigm = check_header(header.data(), name);
    if (!fine("header", name, paradigm.status())) continue;
    same("paradigm", name, paradigm.value() == Paradigm::client_env ? "CLIENT_ENV" : "SERVER_ENV",
         at(says, "paradigm").text());
    for (const End end : {End::server, End::client}) {
      const Value& line = at(says, name_of(end));
      const EndLine ours(header.data(), end);
      same("state", name, state_name(ours.state()), at(line, "state").text());
      same("capabilities", name, std::to_string(ours.capabilities()),
           std::to_string(at(line, "capabilities").integer()));
      constexpr const char* holders[] = {"NOBODY", "PROCESS", "BRIDGE"};
      constexpr const char* bells[] = {"POLL", "FUTEX", "FIFO"};
      constexpr const char* reasons[] = {"NONE",           "CLOSED",   "DRAINING", "ENVIRONMENT_EXITED",
                                         "PROTOCOL_ERROR", "REPLACED", "VANISHED", "LINK_DOWN"};
      same("holder", name, holders[static_cast<size_t>(ours.holder())], at(line, "holder").text());
      same("bell", name, bells[static_cast<size_t>(ours.bell())], at(line, "bell").text());
      same("reason", name, reasons[static_cast<size_t>(ours.reason())], at(line, "reason").text());
      const std::string who = "process " + std::to_string(at(line, "pid").integer()) + " (" +
                              at(line, "program").text() + ")";
      same("who", name, ours.who(), who);
    }
    uint64_t ids[2];
    std::memcpy(ids, header.data() + 40, sizeof ids);
    if (ids[0] != id_of(says, "incarnation") || ids[1] != id_of(says, "session")) fail("ids", name, "other ones");
    const auto generation = static_cast<uint32_t>(at(says, "generation").integer());
    same("generation", name, std::to_string(word_at(header.data(), 36).load()), std::to_string(generation));
    same("sessions", name, std::to_string(word_at(header.data(), 56).load()),
         std::to_string(at(says, "sessions").integer()));
    const auto words = [&](const char* which, const Slot& slot) {
      const Value& line = at(at(says, "slots"), which);
      same("published", name, std::to_string(slot.published().load()), std::to_string(at(line, "published").integer()));
      same("taken", name, std::to_string(slot.taken().load()), std::to_string(at(line, "taken").integer()));
    };
    words("greeting, client to server", request_greeting(header.data()));
    words("greeting, server to client", reply_greeting(header.data()));
    const Value* image = files.find("slots." + std::to_string(generation));
    if (!image) continue;
    Bytes slots = file_of(*image);
    Mapping mapping(slots.data(), slots.size());
    auto geometry = SlotGeometry::read(mapping, generation, name);
    mapping.release();  // it is no mapping: nothing is to be unmapped
    if (!fine("slots", name, geometry.status())) continue;
    words("request", geometry.value().request(slots.data()));
    words("reply", geometry.value().reply(slots.data()));
    Bytes again(64);
    geometry.value().write(again.data(), generation);
    same("head of slots", name, to_hex(again.data(), 64), to_hex(slots.data(), 64));
  }
}
#endif

// --- frames ---------------------------------------------------------------------------

/// Reads the frames in some bytes: an error where one is refused.
inline Status read_frames(const Bytes& bytes, std::vector<std::pair<Frame, Bytes>>& found) {
  size_t offset = 0;
  while (bytes.size() - offset >= frame_header_bytes) {
    Frame frame;
    std::memcpy(&frame, bytes.data() + offset, sizeof frame);
    if (Status status = check_frame(frame); !status) return status;
    offset += sizeof frame;
    if (bytes.size() - offset < frame.body_bytes) return protocol_error("a body is cut off");
    const uint8_t* body = bytes.data() + offset;
    if ((frame.flags & frame_flag_crc) && crc32(body, frame.body_bytes) != frame.body_crc) {
      return Status(Code::corrupt, "a body is damaged");
    }
    found.emplace_back(frame, Bytes(body, body + frame.body_bytes));
    offset += frame.body_bytes;
  }
  return Status();
}

inline std::string frame_bytes(Frame frame, const Bytes& body) {
  if (frame.flags & frame_flag_crc) frame.body_crc = crc32(body.data(), body.size());
  seal(frame);
  return to_hex(reinterpret_cast<const uint8_t*>(&frame), sizeof frame) + to_hex(body.data(), body.size());
}

inline void check_link_greeting(const Value& vector) {
  const std::string& name = at(vector, "name").text();
  std::vector<std::pair<Frame, Bytes>> frames;
  for (const char* key : {"HELLO", "CHALLENGE", "PROOF", "WELCOME"}) {
    if (!fine("greeting of a link", name, read_frames(from_hex(at(vector, key).text()), frames))) return;
  }
  Value hello;
  if (!fine("greeting of a link", name, unpack_map(frames[0].second.data(), frames[0].second.size(), hello))) return;
  LinkGreeting greeting;
  greeting.id = at(hello, "id").natural();
  greeting.machine = at(hello, "machine").text();
  greeting.program = at(hello, "software").text();
  greeting.crc = at(vector, "crc").boolean();
  greeting.nonce = from_hex(at(vector, "dialer's nonce").text());
  if (at(vector, "token").is_text()) greeting.token = from_hex(at(vector, "token").text());
  const auto written = [](FrameType type, const Bytes& body) {
    Frame frame;
    frame.type = type;
    frame.body_bytes = frame.total = static_cast<uint32_t>(body.size());
    return frame_bytes(frame, body);
  };
  same("HELLO", name, written(FrameType::hello, greeting.write_hello()), at(vector, "HELLO").text());
  Bytes proof;
  if (!fine("CHALLENGE", name, greeting.answer(frames[1].second.data(), frames[1].second.size(), proof))) return;
  same("PROOF", name, written(FrameType::proof, proof), at(vector, "PROOF").text());
  if (!fine("WELCOME", name, greeting.finish(frames[3].second.data(), frames[3].second.size()))) return;
  if (greeting.has_crc != greeting.crc) fail("WELCOME", name, "another CRC");
  if (greeting.token.empty()) return;
  greeting.token[0] ^= 1;
  if (greeting.finish(frames[3].second.data(), frames[3].second.size())) {
    fail("WELCOME", name, "a wrong mac was taken");
  }
}

inline void check_frames(const std::string& directory) {
  const Value file = load(directory, "frames.json");
  for (const Value& vector : group(file, "frames")) {
    const Line verdict("frames", vector);
    const std::string& name = at(vector, "name").text();
    const Bytes body = from_hex(at(vector, "body").text());
    std::vector<std::pair<Frame, Bytes>> found;
    if (!fine("frame", name, read_frames(from_hex(at(vector, "hex").text()), found)) || found.size() != 1) continue;
    const Frame& frame = found[0].first;
    same("channel", name, std::to_string(frame.channel), std::to_string(at(vector, "channel").integer()));
    same("sequence", name, std::to_string(frame.sequence), std::to_string(at(vector, "sequence").integer()));
    same("publication", name, std::to_string(frame.publication), std::to_string(at(vector, "publication").integer()));
    same("offset", name, std::to_string(frame.offset), std::to_string(at(vector, "offset").integer()));
    same("total", name, std::to_string(frame.total), std::to_string(at(vector, "total").integer()));
    if (frame.incarnation != id_of(vector, "incarnation") || frame.session != id_of(vector, "session")) {
      fail("frame", name, "other ids");
    }
    same("body", name, to_hex(found[0].second.data(), found[0].second.size()), to_hex(body.data(), body.size()));
    Frame again = frame;
    again.body_crc = again.header_crc = 0;
    same("frame written", name, frame_bytes(again, body), at(vector, "hex").text());
  }
  for (const Value& vector : group(file, "refused")) {
    const Line verdict("frames", vector);
    std::vector<std::pair<Frame, Bytes>> found;
      if (read_frames(from_hex(at(vector, "hex").text()), found)) {
      fail("frame refused", at(vector, "name").text(), at(vector, "why").text());
    }
  }
  for (const Value& vector : group(file, "greetings")) {
    Line verdict("frames", vector);
    if (!at(vector, "certificate").text().empty()) {
      verdict.unsupported("this client speaks no TLS");
    } else {
      check_link_greeting(vector);
    }
  }
}

/// Compares every vector of a directory.
inline void compare(const std::string& directory) {
  check_values(directory);
  check_numbers(directory);
  check_spaces(directory);
  check_messages(directory);
  check_parts(directory);
  check_greetings(directory);
  check_frames(directory);
#if RLAY_MAPPED_FILES
  check_slots(directory);
#endif
}

}  // namespace vectors
