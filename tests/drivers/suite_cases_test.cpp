#include "drivers/suite_cases.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/pattern.h"
#include "ring/problem.h"

namespace hilbertring {
namespace {

using Json = nlohmann::json;

/// What each key of the specification takes in the set, as JSON; "null" where a default is not written.
std::map<std::string, std::set<std::string>> values_in_the_set() {
  std::map<std::string, std::set<std::string>> values;
  for (const SuiteCase& suite_case : suite_cases()) {
    const Json json = Json::parse(to_json(suite_case.specification));
    for (const std::string& key : specification_keys()) values[key].insert(json.value(key, Json()).dump());
  }
  return values;
}

TEST(SuiteCases, EveryOptionValueOccursInTheSet) {
  auto values = values_in_the_set();

  for (const std::string& key : specification_keys()) {
    for (const std::string& word : specification_words(key))
      EXPECT_TRUE(values[key].count(Json(word).dump())) << "no case has " << key << " " << word;
    EXPECT_GE(values[key].size(), 2U) << "all cases have the same " << key;
  }
}

TEST(SuiteCases, EveryElementTypeMeetsEveryValueThatIsFoldedDifferently) {
  for (const ElementType type : kElementTypes) {
    std::set<Causal> causal;
    std::set<Dilate> dilate;
    std::set<Placement> placement;
    for (const SuiteCase& suite_case : suite_cases()) {
      if (suite_case.type != type) continue;
      causal.insert(suite_case.specification.causal);
      dilate.insert(suite_case.specification.dilate);
      placement.insert(suite_case.specification.placement);
    }
    EXPECT_EQ(causal.size(), specification_words("causal").size()) << to_string(type);
    EXPECT_EQ(dilate.size(), specification_words("dilate").size()) << to_string(type);
    EXPECT_EQ(placement.size(), specification_words("placement").size()) << to_string(type);
  }
}

TEST(SuiteCases, EveryPresetOccursWithAllItsBranches) {
  for (const std::string& name : preset_names()) {
    const auto is_it = [&](const SuiteCase& suite_case) { return suite_case.name == "preset-" + name; };
    const auto found = std::find_if(suite_cases().begin(), suite_cases().end(), is_it);

    ASSERT_NE(found, suite_cases().end()) << name;
    EXPECT_EQ(found->specification.dilation_rates, preset(name, {.tokens = 32768, .head_dim = 8}).specification.dilation_rates) << name;
  }
}

TEST(SuiteCases, NamesAreUniqueAndAreFileNames) {
  std::set<std::string> names;
  for (const SuiteCase& suite_case : suite_cases()) {
    EXPECT_TRUE(names.insert(suite_case.name).second) << suite_case.name;
    EXPECT_EQ(suite_case.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-"), std::string::npos) << suite_case.name;
    EXPECT_FALSE(suite_case.covers.empty()) << suite_case.name;
  }
}

TEST(SuiteCases, EveryCaseRunsOnAsManyRanksAsTheSetAllows) {
  for (const SuiteCase& suite_case : suite_cases()) {
    const Problem problem{
        .shape = suite_case.shape, .type = suite_case.type, .specification = suite_case.specification, .with_gradient = suite_case.has_gradient};

    EXPECT_NO_THROW(problem.validate(kMaxSuiteRanks)) << suite_case.name;
  }
}

TEST(SuiteCases, RowsWithoutKeysDoOccur) {
  for (const std::string name : {"rows-without-keys", "rows-without-keys-causal"}) {
    const auto found = std::find_if(suite_cases().begin(), suite_cases().end(), [&](const SuiteCase& suite_case) { return suite_case.name == name; });
    ASSERT_NE(found, suite_cases().end());
    const Pattern pattern(found->specification, found->shape);
    const std::int64_t last_head = found->shape.heads - 1;

    bool has_key = false;
    for (Position key(0); key <= Position(0) && !has_key; ++key) has_key = pattern.branch(0).allows(last_head, Position(0), key);

    EXPECT_FALSE(has_key) << name << ": position 0 sees no key at or before it";
  }
}

}  // namespace
}  // namespace hilbertring
