--- Small files and folders.
local lfs = require "lfs"

local files = {}

function files.read(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local text = file:read "*a"
  file:close()
  return text
end

function files.write(path, text)
  local folder = path:match "^(.*)/[^/]*$"
  if folder then files.make(folder) end
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

--- Make a folder and those above it.
function files.make(path)
  if path == "" or lfs.attributes(path) then return end
  local parent = path:match "^(.*)/[^/]*$"
  if parent then files.make(parent) end
  lfs.mkdir(path)
end

function files.exists(path)
  return lfs.attributes(path) ~= nil
end

--- Names of all files under a folder, relative to it, sorted.
function files.under(path)
  local found = {}
  local function walk(folder, prefix)
    if not lfs.attributes(folder) then return end
    for name in lfs.dir(folder) do
      if name ~= "." and name ~= ".." then
        local mode = lfs.attributes(folder .. "/" .. name, "mode")
        if mode == "directory" then
          walk(folder .. "/" .. name, prefix .. name .. "/")
        elseif mode then
          found[#found + 1] = prefix .. name
        end
      end
    end
  end
  walk(path, "")
  table.sort(found)
  return found
end

--- A new empty folder that the caller removes.
function files.temporary()
  local name = os.tmpname()
  os.remove(name)
  lfs.mkdir(name)
  return name
end

function files.remove(path)
  assert(path:match "^/tmp/." or path:match "^/var/tmp/.", "only temporary folders are removed: " .. path)
  local mode = lfs.symlinkattributes(path, "mode")
  if mode == "directory" then
    for name in lfs.dir(path) do
      if name ~= "." and name ~= ".." then files.remove(path .. "/" .. name) end
    end
    lfs.rmdir(path)
  elseif mode then
    os.remove(path)
  end
end

return files
