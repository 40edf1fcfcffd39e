// Bytes of a peer that are wrong: `hostile DIRECTORY` reads every golden message and greeting
// cut off at each byte, and with each byte changed. Nothing may crash, hang, or read what it
// must not: the program is built with sanitizers. It prints how many were read and refused.

#include "../conformance/vectors.hpp"

namespace {

using namespace rlay;
using namespace rlay::detail;
using vectors::at;
using vectors::group;

long taken = 0;
long refused = 0;

void count(const Status& status) { ++(status ? taken : refused); }

/// Tries some bytes as they are cut, and as they are changed.
template <class Try>
void mistreat(const Bytes& bytes, Try&& attempt) {
  for (size_t size = 0; size < bytes.size(); ++size) {
    // Memory of exactly this size, so that a byte too many is noticed.
    attempt(Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)));
  }
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const unsigned by : {0x01U, 0x80U, 0xFFU}) {
      Bytes changed = bytes;
      changed[i] = static_cast<uint8_t>(changed[i] ^ by);
      attempt(changed);
    }
  }
}

/// A slot whose writer is hostile: header and payload are put there as they are.
void read_from_slot(const Bytes& message, const vectors::Subject& it, bool decision) {
  const size_t capacity = 4096;
  Bytes memory(Slot::bytes(capacity) + 64);
  auto* first = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
  const Slot slot{first, capacity};
  struct Silent final : Carrier {
    void published(const Slot&) override {}
    void taken(const Slot&) override {}
    Status wait(const Slot&, Word, uint32_t, Deadline&) override { return timed_out("nothing comes"); }
    Status check() override { return Status(); }
  } silent;
  SlotSession session;
  session.begin(slot, slot, &silent, 1 << 20);
  const size_t size = std::min(message.size(), message_header_bytes + capacity);
  if (size) std::memcpy(slot.buffer(0), message.data(), size);
  slot.published().store(2);
  Message read;
  bool there = false;
  Status status = session.receive_nowait(read, there);
  if (!status || !there) return count(protocol_error("no whole message"));
  // A copy of exactly its size.
  const Bytes payload(read.payload, read.payload + read.size);
  read.payload = payload.data();
  const DecisionReader decisions(it.agreement);
  const ReportReader reports(it.agreement);
  ResetRequest reset;
  Value action, mask, value;
  Call call;
  Reason reason;
  First result;
  Transition transition;
  if (decision) {
    switch (read.kind()) {
      case MessageKind::reset: return count(decisions.reset(read, reset));
      case MessageKind::step: return count(decisions.step(read, action, mask));
      case MessageKind::call: return count(DecisionReader::call(read, call));
      case MessageKind::close: return count(DecisionReader::close(read, reason));
      default: return count(protocol_error("no decision"));
    }
  }
  switch (read.kind()) {
    case MessageKind::reset_result: return count(reports.reset_result(read, result));
    case MessageKind::transition: return count(reports.transition(read, transition));
    case MessageKind::call_result: return count(ReportReader::call_result(read, value));
    case MessageKind::failure: return count(ReportReader::failure(read));
    default: return count(protocol_error("no report"));
  }
}

void mistreat_messages(const std::string& directory) {
  for (const bool decision : {true, false}) {
    const char* name = decision ? "decisions" : "reports";
    const Value file = vectors::load(directory, (std::string(name) + ".json").c_str());
    for (const Value& vector : group(file, name)) {
      vectors::Subject it;
      if (!vectors::prepare(vector, decision, it)) std::exit(2);
      Bytes message = it.header_bytes;
      message.insert(message.end(), it.payload.begin(), it.payload.end());
      mistreat(message, [&](const Bytes& bytes) { read_from_slot(bytes, it, decision); });
    }
  }
}

void mistreat_greetings(const std::string& directory) {
  const Value file = vectors::load(directory, "greetings.json");
  for (const Value& vector : group(file, "greetings")) {
    mistreat(from_hex(at(vector, "hex").text()), [](const Bytes& bytes) {
      Message message;
      message.payload = bytes.data();
      message.size = bytes.size();
      Hello hello;
      Welcome welcome;
      Facts facts;
      Wishes wishes;
      count(decode(message, hello));
      count(decode(message, welcome));
      if (hello.environment.is_map()) count(unpack_facts(hello.environment, facts));
      if (hello.wishes.is_map()) count(unpack_wishes(hello.wishes, wishes));
      if (welcome.environment.is_map()) count(unpack_facts(welcome.environment, facts));
      count(decode_refusal(message));
    });
  }
}

void mistreat_frames(const std::string& directory) {
  const Value file = vectors::load(directory, "frames.json");
  for (const Value& vector : group(file, "frames")) {
    mistreat(from_hex(at(vector, "hex").text()), [](const Bytes& bytes) {
      std::vector<std::pair<Frame, Bytes>> found;
      count(vectors::read_frames(bytes, found));
      for (const auto& frame : found) {
        Value map;
        Ending ending;
        count(unpack_map(frame.second.data(), frame.second.size(), map));
        count(Ending::unpack(frame.second.data(), frame.second.size(), ending));
        count(note_error(frame.second.data(), frame.second.size()));
      }
    });
  }
}

}  // namespace

int main(int arguments_given, char** arguments) {
  if (arguments_given != 2) return 2;
  mistreat_messages(arguments[1]);
  mistreat_greetings(arguments[1]);
  mistreat_frames(arguments[1]);
  std::printf("%ld read, %ld refused\n", taken, refused);
  return 0;
}
