// A logger for RocksDB. C++, for its C API takes loggers and makes none.
#include "state/store_logger.h"

#include <rocksdb/env.h>

#include <cstdio>
#include <memory>

/** As RocksDB's db/c.cc has it. */
struct rocksdb_logger_t {
  std::shared_ptr<rocksdb::Logger> rep;
};

namespace {

class Teller final : public rocksdb::Logger {
public:
  explicit Teller(void (*say)(bool, const char *)) : Logger(rocksdb::WARN_LEVEL), say_(say) {}

  void LogHeader(const char *, va_list) override {}
  void Logv(const char *, va_list) override {}
  void Logv(const rocksdb::InfoLogLevel level, const char *format, va_list arguments) override {
    if (level != rocksdb::WARN_LEVEL && level != rocksdb::ERROR_LEVEL && level != rocksdb::FATAL_LEVEL)
      return;
    char text[512];
    vsnprintf(text, sizeof text, format, arguments);
    say_(level != rocksdb::WARN_LEVEL, text);
  }

private:
  void (*say_)(bool, const char *);
};

} // namespace

void store_logger_set(rocksdb_options_t *options, void (*say)(bool failed, const char *text)) {
  rocksdb_logger_t logger{std::make_shared<Teller>(say)};
  rocksdb_options_set_info_log(options, &logger);
}
