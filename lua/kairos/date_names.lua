--- Names of days and months by language, Monday and January first (Unicode's CLDR). Short forms that are missing are the first
--- three letters.
local LANGUAGES = {
  en = {
    days = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    months = "January February March April May June July August September October November December",
  },
  de = {
    days = "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
    short_days = "Mo Di Mi Do Fr Sa So",
    months = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    short_months = "Jan Feb März Apr Mai Juni Juli Aug Sept Okt Nov Dez",
  },
  fr = {
    days = "lundi mardi mercredi jeudi vendredi samedi dimanche",
    short_days = "lun. mar. mer. jeu. ven. sam. dim.",
    months = "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    short_months = "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
  },
  es = {
    days = "lunes martes miércoles jueves viernes sábado domingo",
    short_days = "lun mar mié jue vie sáb dom",
    months = "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    short_months = "ene feb mar abr may jun jul ago sept oct nov dic",
  },
  it = {
    days = "lunedì martedì mercoledì giovedì venerdì sabato domenica",
    months = "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
  },
  nl = {
    days = "maandag dinsdag woensdag donderdag vrijdag zaterdag zondag",
    short_days = "ma di wo do vr za zo",
    months = "januari februari maart april mei juni juli augustus september oktober november december",
    short_months = "jan feb mrt apr mei jun jul aug sep okt nov dec",
  },
}

--- The words of a text.
local function words(text)
  local list = {}
  for word in text:gmatch "%S+" do
    list[#list + 1] = word
  end
  return list
end

local languages = {}
for language, names in pairs(LANGUAGES) do
  local known = { days = words(names.days), months = words(names.months) }
  for _, kind in ipairs { "days", "months" } do
    local short = names["short_" .. kind] and words(names["short_" .. kind]) or {}
    for i, name in ipairs(known[kind]) do
      short[i] = short[i] or name:sub(1, 3)
    end
    known["short_" .. kind] = short
  end
  languages[language] = known
end

---@type table<string, { days: string[], months: string[], short_days: string[], short_months: string[] }>
return languages
