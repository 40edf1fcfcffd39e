// Writes and reads every vector of tests/conformance/vectors: `vectors DIRECTORY`.
//
// One line for each vector that is wrong; the exit code says whether there was one. The
// last line counts what was compared.

#include <fstream>
#include <sstream>

#include "notation.hpp"

namespace {

using namespace rlay;
using namespace rlay::detail;

int failures = 0;
int compared = 0;

void fail(const std::string& what, const std::string& name, const std::string& why) {
  ++failures;
  std::printf("%s, %s: %s\n", what.c_str(), name.c_str(), why.c_str());
}

void same(const std::string& what, const std::string& name, const std::string& ours,
          const std::string& theirs) {
  ++compared;
  if (ours != theirs) fail(what, name, "\n  ours   " + ours + "\n  theirs " + theirs);
}

void same(const std::string& what, const std::string& name, const Value& ours, const Value& theirs) {
  const auto text = [](const Value& value) {
    Bytes bytes;
    const Status status = ValueEncoder(bytes, true).encode(value);
    return status ? to_hex(bytes.data(), bytes.size()) : status.message();
  };
  same(what, name, text(ours), text(theirs));
  if (ours != theirs) fail(what, name, "the same bytes, but another value");
}

bool fine(const std::string& what, const std::string& name, const Status& status) {
  if (!status) fail(what, name, status.message());
  return status.ok();
}

Value load(const std::string& directory, const char* file) {
  std::ifstream stream(directory + "/" + file);
  std::stringstream text;
  text << stream.rdbuf();
  if (!stream) {
    std::fprintf(stderr, "cannot read %s/%s\n", directory.c_str(), file);
    std::exit(2);
  }
  return Json::parse(text.str());
}

const std::vector<Value>& group(const Value& file, const char* name) {
  const Value* found = file.find(name);
  if (!found || found->size() == 0) {
    std::fprintf(stderr, "there are no vectors %s\n", name);
    std::exit(2);
  }
  return found->items();
}

const Value& at(const Value& map, const char* key) {
  const Value* found = map.find(key);
  if (!found) {
    std::fprintf(stderr, "a vector lacks %s\n", key);
    std::exit(2);
  }
  return *found;
}

uint64_t id_of(const Value& vector, const char* key) {
  return std::strtoull(at(vector, key).text().c_str(), nullptr, 16);
}

// --- values, numbers, spaces ----------------------------------------------------------

void check_value(const Value& vector, bool big_integers) {
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

void check_values(const std::string& directory) {
  const Value file = load(directory, "values.json");
  for (const Value& vector : group(file, "values")) check_value(vector, false);
  for (const Value& vector : group(file, "in a RESET only")) check_value(vector, true);
  for (const Value& vector : group(file, "refused")) {
    const Bytes bytes = from_hex(at(vector, "hex").text());
    Value read;
    ++compared;
    if (ValueDecoder(bytes.data(), bytes.size()).whole(read)) {
      fail("value refused", at(vector, "name").text(), at(vector, "why").text());
    }
  }
}

void check_numbers(const std::string& directory) {
  const Value file = load(directory, "numbers.json");
  for (const Value& vector : group(file, "numbers")) {
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

void check_spaces(const std::string& directory) {
  const Value file = load(directory, "spaces.json");
  for (const Value& vector : group(file, "spaces")) {
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

bool prepare(const Value& vector, bool decision, Subject& it) {
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

Status write_report(ReportWriter& writer, const std::string& kind, const Subject& it, Draft& draft) {
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

Status write_decision(const DecisionWriter& writer, const std::string& kind, const Subject& it, Draft& draft) {
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

void check_written(const Value& vector, bool decision, const Subject& it) {
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

void check_read(const Value& vector, const Subject& it, const Message& message) {
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

void check_messages(const std::string& directory) {
  const Value decisions = load(directory, "decisions.json");
  const Value reports = load(directory, "reports.json");
  for (const bool decision : {true, false}) {
    for (const Value& vector : group(decision ? decisions : reports, decision ? "decisions" : "reports")) {
      Subject it;
      if (!prepare(vector, decision, it)) continue;
      check_written(vector, decision, it);
      check_read(vector, it, it.message());
    }
  }
}

void check_parts(const std::string& directory) {
  const Value file = load(directory, "parts.json");
  for (const Value& vector : group(file, "parts")) {
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

void check_greetings(const std::string& directory) {
  const Value file = load(directory, "greetings.json");
  for (const Value& vector : group(file, "greetings")) {
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
Bytes file_of(const Value& image) {
  Bytes bytes(static_cast<size_t>(at(image, "size").integer()));
  const Value& lines = at(image, "lines");
  for (size_t i = 0; i < lines.size(); ++i) {
    const Bytes line = from_hex(lines[i].text());
    std::memcpy(bytes.data() + std::strtoull(lines.key(i).c_str(), nullptr, 10), line.data(), line.size());
  }
  return bytes;
}

const char* state_name(EndState state) {
  constexpr const char* names[] = {"ABSENT", "ALIVE", "LINK_DOWN", "LOST", "CLOSED"};
  return names[static_cast<size_t>(state)];
}

void check_slots(const std::string& directory) {
  const Value file = load(directory, "slots.json");
  for (const Value& vector : group(file, "slots")) {
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
    }
    const auto words = [&](const char* which, const Slot& slot) {
      const Value& line = at(at(says, "slots"), which);
      same("published", name, std::to_string(slot.published().load()), std::to_string(at(line, "published").integer()));
      same("taken", name, std::to_string(slot.taken().load()), std::to_string(at(line, "taken").integer()));
    };
    words("greeting, client to server", request_greeting(header.data()));
    words("greeting, server to client", reply_greeting(header.data()));
  }
}
#endif

// --- frames ---------------------------------------------------------------------------

/// Reads the frames in some bytes: an error where one is refused.
Status read_frames(const Bytes& bytes, std::vector<std::pair<Frame, Bytes>>& found) {
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

std::string frame_bytes(Frame frame, const Bytes& body) {
  if (frame.flags & frame_flag_crc) frame.body_crc = crc32(body.data(), body.size());
  seal(frame);
  return to_hex(reinterpret_cast<const uint8_t*>(&frame), sizeof frame) + to_hex(body.data(), body.size());
}

void check_link_greeting(const Value& vector) {
  const std::string& name = at(vector, "name").text();
  if (!at(vector, "certificate").text().empty()) return;  // this client speaks no TLS
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

void check_frames(const std::string& directory) {
  const Value file = load(directory, "frames.json");
  for (const Value& vector : group(file, "frames")) {
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
    std::vector<std::pair<Frame, Bytes>> found;
    ++compared;
    if (read_frames(from_hex(at(vector, "hex").text()), found)) {
      fail("frame refused", at(vector, "name").text(), at(vector, "why").text());
    }
  }
  for (const Value& vector : group(file, "greetings")) check_link_greeting(vector);
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) return 2;
  const std::string directory = arguments[1];
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
  std::printf("%d compared, %d failures\n", compared, failures);
  return failures ? 1 : 0;
}
