#pragma once

namespace hilbertring {

/// How the rows of a message get from one rank's tensors into another's.
enum class MessagePath {
  kHost,    ///< tensors lie in the host's memory: a whole shard is sent and received as it lies, anything else is packed there
  kStaged,  ///< tensors lie on a device, messages in host memory that it reads and writes
  kLinked   ///< from device to device: a whole shard as it lies, anything else packed in the device's memory
};

}  // namespace hilbertring
