// Which kind of end a name leads to: mapped memory, or a bridge's address.

#pragma once

#include "backend.hpp"
#include "direct.hpp"
#include "env.hpp"
#include "serve.hpp"

namespace rlay::detail {

inline Status open_server(const std::string& name, const ServeOptions& options, uint32_t num_envs,
                          std::unique_ptr<ServerEnd>& server) {
  if (is_address(name)) {
    auto direct = std::make_unique<DirectServer>();
    Status made = direct->create(name, options.token, Paradigm::client_env, num_envs, options.connect_timeout,
                                 options.stop);
    if (made) server = std::move(direct);
    return made;
  }
#if RLAY_MAPPED_FILES
  auto mapped = std::make_unique<MappedServer>();
  Status status = mapped->create(name, options.directory, Paradigm::client_env, num_envs);
  if (status) server = std::move(mapped);
  return status;
#else
  return Status(Code::unsupported, "this system has no mapped channels: name an address, tcp://host:port/name");
#endif
}

inline Status Search::open_address() {
  if (!direct_) {
    direct_ = std::make_shared<DirectClient>();
    if (Status status = direct_->begin(options_.name, options_.token, options_.group); !status) return status;
  }
  bool found = false;
  if (Status status = direct_->seek(found); !status) return status;
  busy_ = direct_->is_busy();
  problem_ = direct_->problem();
  if (!found) return Status();
  if (direct_->paradigm() != options_.paradigm) return other_paradigm(options_.name, direct_->paradigm());
  end_ = std::move(direct_);
  return Status();
}

inline void Search::rest(int64_t duration_ns) {
  if (end_) {
    end_->rest(duration_ns);
  } else if (direct_) {
    direct_->rest(duration_ns);
  } else {
    sleep_ns(duration_ns);
  }
}

inline Status Search::open() {
  if (is_address(options_.name)) return open_address();
#if RLAY_MAPPED_FILES
  return open_mapped_channel();
#else
  return Status(Code::unsupported, "this system has no mapped channels: name an address, tcp://host:port/name");
#endif
}

}  // namespace rlay::detail
