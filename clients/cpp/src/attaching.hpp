// Which kind of end a name leads to: mapped memory, or a bridge's address.

#pragma once

#include "backend.hpp"
#include "env.hpp"
#include "serve.hpp"

namespace rlay::detail {

inline Status open_server(const std::string& name, const ServeOptions& options, uint32_t num_envs,
                          std::unique_ptr<ServerEnd>& server) {
  if (is_address(name)) return Status(Code::unsupported, "addresses come next");
#if RLAY_MAPPED_FILES
  auto mapped = std::make_unique<MappedServer>();
  Status status = mapped->create(name, options.directory, Paradigm::client_env, num_envs);
  if (status) server = std::move(mapped);
  return status;
#else
  return Status(Code::unsupported, "this system has no mapped channels: name an address, tcp://host:port/name");
#endif
}

inline Status Search::open() {
  if (is_address(options_.name)) return Status(Code::unsupported, "addresses come next");
#if RLAY_MAPPED_FILES
  return open_mapped_channel();
#else
  return Status(Code::unsupported, "this system has no mapped channels: name an address, tcp://host:port/name");
#endif
}

}  // namespace rlay::detail
