--- Real purchases (6,919 of an online music shop), and independent calculations over them, in awk.
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local cdnow = {}

cdnow.SOURCE = os.getenv "KAIROS_CDNOW" or "../shared/data/cdnow_sample.txt"

-- Day numbers since 1970-01-01 of YYYYMMDD, and the purchases of each customer in the order of their days.
cdnow.PREAMBLE = [=[
  function day(text,    y, m, d, era, yoe, doy) {
    y = substr(text, 1, 4) + 0; m = substr(text, 5, 2) + 0; d = substr(text, 7, 2) + 0
    if (m <= 2) y--
    era = int(y / 400); yoe = y - era * 400
    doy = int((153 * (m + (m > 2 ? -3 : 9)) + 2) / 5) + d - 1
    return era * 146097 + yoe * 365 + int(yoe / 4) - int(yoe / 100) + doy - 719468
  }
  NF { n[$1]++; days[$1, n[$1]] = day($3) }
]=]

--- What an awk program makes of the purchases, which it gets sorted by customer and day; its lines are sorted.
-- @param until_day  the variable UNTIL
function cdnow.calculate(program, until_day)
  local directory = files.temporary()
  files.write(directory .. "/program.awk", program)
  local line = "tr -d '\\r' < %s | sort -s -k1,1 -k3,3 | awk -v UNTIL=%s -f %s/program.awk | LC_ALL=C sort"
  local out = process.shell(line:format(cdnow.SOURCE, until_day or 0, directory))
  files.remove(directory)
  return out
end

function cdnow.lines_of(text)
  local found = {}
  for line in text:gmatch "[^\n]+" do found[#found + 1] = line end
  return found
end

return cdnow
