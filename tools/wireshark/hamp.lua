-- Wireshark dissector of the Host Anycast Membership Protocol, version 1.
--
-- Written from docs/spec/membership.md and docs/spec/trust.md, by hand and with no line of the Rust codec, so that the two
-- can be held against each other (tests/wireshark.rs). docs/wireshark.md says how to install it and
-- shows what to ask for. Needs Wireshark 3.4 or later; uses no bit library, which Lua 5.2 to 5.4
-- each spell differently.

local PORT = 1021
local VERSION = 1
local HEADER_BYTES = 20
local SIGNATURE_BYTES = 64
local MAX_CHAIN_LENGTH = 4096
local MAX_PREFIXES = 16

local REPORT, HELLO, ANCHOR, QUERY = 1, 2, 3, 4
local TYPES = { [REPORT] = "Report", [HELLO] = "Hello", [ANCHOR] = "Anchor", [QUERY] = "Query" }
local AUTHENTICATIONS = { [0] = "None", [1] = "Ed25519" }
local KINDS = { [0] = "Full", [1] = "Delta" }
local SCOPES = { [0] = "Link", [1] = "Site", [2] = "Global" }
local OPTIONS = { [1] = "Nonces", [2] = "Certificate", [3] = "Name" }
local FAMILIES = { [4] = "IPv4", [6] = "IPv6" }

local hamp = Proto("hamp", "Host Anycast Membership Protocol")

local f = {
    version = ProtoField.uint8("hamp.version", "Version", base.DEC, nil, 0xf0),
    type = ProtoField.uint8("hamp.type", "Type", base.DEC, TYPES, 0x0f),
    authentication = ProtoField.uint8("hamp.authentication", "Authentication", base.DEC, AUTHENTICATIONS),
    length = ProtoField.uint16("hamp.length", "Length in bytes"),
    member = ProtoField.bytes("hamp.member", "Member id", base.NONE, "The sender's"),
    body = ProtoField.bytes("hamp.body", "Undecoded body"),
    signature = ProtoField.bytes("hamp.signature", "Signature"),

    report = ProtoField.none("hamp.report", "Report"),
    hello = ProtoField.none("hamp.hello", "Hello"),
    anchor = ProtoField.none("hamp.anchor", "Anchor"),
    query = ProtoField.none("hamp.query", "Query"),

    interface = ProtoField.uint32("hamp.statement.interface", "Interface"),
    epoch = ProtoField.uint64("hamp.statement.epoch", "Epoch in ms since 1970"),
    counter = ProtoField.uint32("hamp.statement.counter", "Counter"),
    time = ProtoField.uint64("hamp.statement.time", "Time since the epoch began in ms"),
    generation = ProtoField.uint32("hamp.statement.generation", "Generation"),
    digest = ProtoField.bytes("hamp.statement.digest", "Digest of all records"),
    ipv4 = ProtoField.ipv4("hamp.statement.ipv4", "IPv4 unicast address"),
    ipv6 = ProtoField.ipv6("hamp.statement.ipv6", "IPv6 unicast address"),
    mac = ProtoField.ether("hamp.statement.mac", "Link-layer address"),
    dead_hellos = ProtoField.uint8("hamp.statement.dead_hellos", "Missed hellos that make it dead"),
    statement_flags = ProtoField.uint8("hamp.statement.flags", "Flags", base.HEX),
    router = ProtoField.bool("hamp.statement.flags.router", "Router", 8, nil, 0x01),
    hello_interval = ProtoField.uint32("hamp.statement.hello_interval", "Hello interval in ms"),
    dead_time = ProtoField.uint32("hamp.statement.dead_time", "Dead time in ms"),
    chain_end = ProtoField.bytes("hamp.chain.end", "Chain end"),
    chain_base = ProtoField.uint32("hamp.chain.base", "Chain base"),
    chain_length = ProtoField.uint32("hamp.chain.length", "Chain length"),

    kind = ProtoField.uint8("hamp.report.kind", "Kind", base.DEC, KINDS),
    reserved = ProtoField.bytes("hamp.reserved", "Reserved"),
    part = ProtoField.uint16("hamp.report.part", "Part, from 0"),
    parts = ProtoField.uint16("hamp.report.parts", "Parts"),
    base_generation = ProtoField.uint32("hamp.report.base", "Base generation"),
    count = ProtoField.uint16("hamp.report.count", "Records"),

    record = ProtoField.none("hamp.record", "Record"),
    record_prefix = ProtoField.string("hamp.record.prefix", "Prefix"),
    record_withdrawal = ProtoField.bool("hamp.record.withdrawal", "Withdraws the prefix"),
    family = ProtoField.uint8("hamp.record.family", "Family", base.DEC, FAMILIES),
    record_length = ProtoField.uint8("hamp.record.length", "Length in bytes"),
    prefix_length = ProtoField.uint8("hamp.record.prefix_length", "Prefix length in bits"),
    record_flags = ProtoField.uint8("hamp.record.flags", "Flags", base.HEX),
    draining = ProtoField.bool("hamp.record.flags.draining", "Draining", 8, nil, 0x01),
    has_serial = ProtoField.bool("hamp.record.flags.serial", "Serial follows", 8, nil, 0x02),
    scope = ProtoField.uint8("hamp.record.scope", "Scope", base.DEC, SCOPES),
    preference = ProtoField.uint16("hamp.record.preference", "Preference"),
    lifetime = ProtoField.uint32("hamp.record.lifetime", "Lifetime in ms"),
    record_ipv4 = ProtoField.ipv4("hamp.record.ipv4", "IPv4 address"),
    record_ipv6 = ProtoField.ipv6("hamp.record.ipv6", "IPv6 address"),
    record_address = ProtoField.bytes("hamp.record.address", "Address of an unknown family"),
    serial = ProtoField.uint32("hamp.record.serial", "Serial"),

    option = ProtoField.none("hamp.option", "Option"),
    option_kind = ProtoField.uint16("hamp.option.kind", "Kind", base.DEC, OPTIONS),
    option_length = ProtoField.uint16("hamp.option.length", "Length in bytes"),
    option_name = ProtoField.string("hamp.name", "Name", base.UNICODE, "What the member's host is called"),
    option_value = ProtoField.bytes("hamp.option.value", "Value"),
    nonce = ProtoField.bytes("hamp.nonce", "Nonce", base.NONE, "Of a query, or of one that is answered"),

    cert = ProtoField.none("hamp.certificate", "Certificate"),
    cert_version = ProtoField.uint8("hamp.certificate.version", "Version"),
    cert_roles = ProtoField.uint8("hamp.certificate.roles", "Roles", base.HEX),
    cert_member = ProtoField.bool("hamp.certificate.roles.member", "Member", 8, nil, 0x01),
    cert_router = ProtoField.bool("hamp.certificate.roles.router", "Router", 8, nil, 0x02),
    cert_serial = ProtoField.uint64("hamp.certificate.serial", "Serial"),
    cert_authority = ProtoField.bytes("hamp.certificate.authority", "Authority id"),
    cert_key = ProtoField.bytes("hamp.certificate.key", "Public key"),
    cert_not_before = ProtoField.absolute_time("hamp.certificate.not_before", "Not before", base.UTC),
    cert_not_after = ProtoField.absolute_time("hamp.certificate.not_after", "Not after", base.UTC),
    cert_limit = ProtoField.uint32("hamp.certificate.limit", "Records at most"),
    cert_count = ProtoField.uint16("hamp.certificate.prefixes", "Prefixes"),
    cert_prefix = ProtoField.string("hamp.certificate.prefix", "Prefix"),
    cert_hosts = ProtoField.uint16("hamp.certificate.hosts", "Hosts"),
    cert_host = ProtoField.string("hamp.certificate.host", "Host"),
    cert_signature = ProtoField.bytes("hamp.certificate.signature", "The authority's signature"),

    hello_chain = ProtoField.bytes("hamp.hello.chain", "Chain id"),
    hello_index = ProtoField.uint32("hamp.hello.index", "Index"),
    hello_value = ProtoField.bytes("hamp.hello.value", "Value"),

    query_epoch = ProtoField.uint64("hamp.query.epoch", "Epoch of the asker in ms since 1970"),
    query_counter = ProtoField.uint32("hamp.query.counter", "Counter"),
    query_target = ProtoField.bytes("hamp.query.target", "Target", base.NONE, "Who is asked; zero is everybody"),
    query_response = ProtoField.uint16("hamp.query.max_response", "Maximum response in ms"),
    query_flags = ProtoField.uint16("hamp.query.flags", "Flags", base.HEX),
    query_refresh = ProtoField.bool("hamp.query.flags.refresh", "Refresh", 16, nil, 0x0001),
    query_anchor = ProtoField.bool("hamp.query.flags.anchor", "An anchor is enough", 16, nil, 0x0002),
    query_interval = ProtoField.uint32("hamp.query.interval", "Query interval in ms"),
}
hamp.fields = f
local BODIES = { [REPORT] = f.report, [HELLO] = f.hello, [ANCHOR] = f.anchor, [QUERY] = f.query }

local groups, severities = expert.group, expert.severity
local e = {
    malformed = ProtoExpert.new("hamp.malformed", "Not a message: a receiver ignores it",
        groups.MALFORMED, severities.ERROR),
    hop_limit = ProtoExpert.new("hamp.hop_limit", "TTL or hop limit is not 255: a receiver ignores it",
        groups.PROTOCOL, severities.ERROR),
    version = ProtoExpert.new("hamp.version.unknown", "Not version 1: a receiver ignores it",
        groups.UNDECODED, severities.WARN),
    unknown = ProtoExpert.new("hamp.unknown", "Unknown type or authentication: a receiver ignores it",
        groups.UNDECODED, severities.WARN),
    later = ProtoExpert.new("hamp.later", "Of a later version: kept, but not used",
        groups.UNDECODED, severities.NOTE),
    reserved = ProtoExpert.new("hamp.reserved.set", "Reserved bits are set: ignored",
        groups.PROTOCOL, severities.NOTE),
    source = ProtoExpert.new("hamp.source", "The statement comes from an address that it does not state: refused",
        groups.SECURITY, severities.WARN),
    certificate = ProtoExpert.new("hamp.certificate.malformed", "Not a certificate",
        groups.MALFORMED, severities.WARN),
    expired = ProtoExpert.new("hamp.certificate.expired", "Not valid at the time of capture",
        groups.SECURITY, severities.WARN),
    cut = ProtoExpert.new("hamp.cut", "The capture holds only the beginning of the message",
        groups.UNDECODED, severities.NOTE),
}
hamp.experts = e

local ttl, hop_limit = Field.new("ip.ttl"), Field.new("ipv6.hlim")
local eth_source = Field.new("eth.src")
local ipv4_source, ipv6_source = Field.new("ip.src"), Field.new("ipv6.src")

-- Ends the dissection of a message; `dissector` tells why in an expert info.
local function malformed(range, why)
    error({ expert = e.malformed, range = range, why = why }, 0)
end

-- Takes fields off the front of a message.
local Cursor = {}
Cursor.__index = Cursor

local function cursor(tvb, from, to)
    return setmetatable({ tvb = tvb, at = from, to = to }, Cursor)
end

function Cursor:left()
    return self.to - self.at
end

function Cursor:take(count)
    if self:left() < count then
        local rest = self:left() > 0 and self.tvb(self.at, self:left()) or nil
        malformed(rest, string.format("truncated: %d bytes needed, %d left", count, self:left()))
    end
    -- Where a capture was cut, the bytes that the lengths promise are not there.
    if self.at + count > self.tvb:len() then
        error({ expert = e.cut }, 0)
    end
    local range = self.tvb(self.at, count)
    self.at = self.at + count
    return range
end

-- What is left, as far as it was captured.
local function rest(from)
    return from.tvb(from.at, math.max(0, math.min(from:left(), from.tvb:len() - from.at)))
end

-- Adds the next `count` bytes to the tree as `field`; their range, and the item.
function Cursor:add(tree, field, count)
    local range = self:take(count)
    return range, tree:add(field, range)
end

function Cursor:reserved(tree, count)
    local range, item = self:add(tree, f.reserved, count)
    for at = 0, count - 1 do
        if range(at, 1):uint() ~= 0 then
            item:add_proto_expert_info(e.reserved)
            break
        end
    end
end

-- Adds flags and their bits; bits from `known` up are reserved.
local function add_flags(tree, field, range, bits, known)
    local item = tree:add(field, range)
    for _, bit in ipairs(bits) do
        item:add(bit, range)
    end
    if range:uint() >= known then
        item:add_proto_expert_info(e.reserved)
    end
end

local function has_bit(value, bit)
    return value % (2 * bit) >= bit
end

-- The prefix as text, or nil and why it is none.
local function prefix_text(family, length, range)
    local bits = 8 * range:len()
    if not ((family == 4 and bits == 32) or (family == 6 and bits == 128)) then
        return nil, "address length is out of range"
    elseif length > bits then
        return nil, "prefix length is out of range"
    end
    for at = 0, range:len() - 1 do
        local mine = math.max(0, math.min(8, length - 8 * at))
        if range(at, 1):uint() % 2 ^ (8 - mine) ~= 0 then
            return nil, "address below its prefix length is out of range"
        end
    end
    return tostring(family == 4 and range:ipv4() or range:ipv6()) .. "/" .. length
end

local function record(from, tree)
    local start = from.at
    local item = tree:add(f.record, rest(from))
    local family = from:add(item, f.family, 1):uint()
    local length_range, length_item = from:add(item, f.record_length, 1)
    local prefix_length = from:add(item, f.prefix_length, 1):uint()
    local flags_range = from:take(1)
    add_flags(item, f.record_flags, flags_range, { f.draining, f.has_serial }, 4)
    local scope, scope_item = from:add(item, f.scope, 1)
    if not SCOPES[scope:uint()] then
        scope_item:add_proto_expert_info(e.later)
    end
    from:reserved(item, 1)
    local preference = from:add(item, f.preference, 2):uint()
    local lifetime = from:add(item, f.lifetime, 4):uint()
    local serial = has_bit(flags_range:uint(), 2)
    local address_length = length_range:uint() - 12 - (serial and 4 or 0)
    if address_length < 0 then
        malformed(length_range, "record length is out of range")
    end
    local range = address_length > 0 and from:take(address_length) or nil
    local text = range and prefix_text(family, prefix_length, range)
    if text then
        item:add(family == 4 and f.record_ipv4 or f.record_ipv6, range)
        item:add(f.record_prefix, range, text):set_generated()
    else
        text = "family " .. family
        if range then
            item:add(f.record_address, range)
        end
        length_item:add_proto_expert_info(e.later)
    end
    if serial then
        from:add(item, f.serial, 4)
    end
    item:set_len(from.at - start)
    item:add(f.record_withdrawal, lifetime == 0):set_generated()
    local sign = lifetime == 0 and "-" or "+"
    local leaving = has_bit(flags_range:uint(), 1) and ", draining" or ""
    item:append_text(string.format(": %s%s, preference %d%s", sign, text, preference, leaving))
    return sign .. text
end

local function add_time(tree, field, range)
    local ms = range:uint64():tonumber()
    local seconds = math.floor(ms / 1000)
    tree:add(field, range, NSTime.new(seconds, (ms - 1000 * seconds) * 1000000))
end

-- The certificate, from an option's value. What is wrong with it is no matter of the message's form.
local function certificate(range, pinfo, tree)
    local from = cursor(range:tvb(), 0, range:len())
    local item = tree:add(f.cert, range)
    local done, problem = pcall(function()
        local version = from:add(item, f.cert_version, 1)
        if version:uint() ~= 1 then
            malformed(version, "version " .. version:uint() .. ", not 1")
        end
        local roles = from:take(1)
        add_flags(item, f.cert_roles, roles, { f.cert_member, f.cert_router }, 4)
        if roles:uint() == 0 or roles:uint() > 3 then
            malformed(roles, "roles is out of range")
        end
        local hosts_range = from:add(item, f.cert_hosts, 2)
        local hosts = hosts_range:uint()
        if hosts > MAX_PREFIXES then
            malformed(hosts_range, "host count is out of range")
        end
        from:add(item, f.cert_serial, 8)
        from:add(item, f.cert_authority, 16)
        from:add(item, f.cert_key, 32)
        local before, after = from:take(8), from:take(8)
        add_time(item, f.cert_not_before, before)
        add_time(item, f.cert_not_after, after)
        if not (before:uint64() < after:uint64()) then
            malformed(after, "not after is out of range")
        end
        from:add(item, f.cert_limit, 4)
        local count_range = from:add(item, f.cert_count, 2)
        local count = count_range:uint()
        if count > MAX_PREFIXES then
            malformed(count_range, "prefix count is out of range")
        end
        for at = 1, count + hosts do
            local family, length = from:take(1), from:take(1):uint()
            if not FAMILIES[family:uint()] then
                malformed(family, "prefix family is out of range")
            end
            local address = from:take(family:uint() == 4 and 4 or 16)
            local text, why = prefix_text(family:uint(), length, address)
            if not text then
                malformed(address, why)
            end
            item:add(at > count and f.cert_host or f.cert_prefix, address, text)
        end
        from:add(item, f.cert_signature, SIGNATURE_BYTES)
        if from:left() > 0 then
            malformed(from:take(from:left()), "bytes are left over")
        end
        local now = UInt64.new(0) + math.floor(1000 * pinfo.abs_ts)
        if now < before:uint64() or not (now < after:uint64()) then
            item:add_proto_expert_info(e.expired)
        end
    end)
    if not done then
        if type(problem) ~= "table" then
            error(problem, 0)
        elseif problem.expert == e.cut then
            error(problem, 0)
        end
        item:add_proto_expert_info(e.certificate, "Not a certificate: " .. problem.why)
    end
end

-- "A receiver MUST ignore a name that is empty, is longer than 64 bytes, is not UTF-8 or holds a
-- character that is not printable." Of what is not ASCII only the bytes are looked at here.
local function is_name(range)
    local text = range:raw()
    return #text <= 64 and not text:find("[%z\1-\31\127\192\193\245-\255]")
end

local function options(from, pinfo, tree)
    while from:left() > 0 do
        local start = from.at
        local item = tree:add(f.option, rest(from))
        local kind = from:add(item, f.option_kind, 2):uint()
        local length = from:add(item, f.option_length, 2):uint()
        item:append_text(": " .. (OPTIONS[kind] or ("kind " .. kind)))
        if kind == 1 then
            local range = from:take(length)
            if length % 8 ~= 0 then
                malformed(range, "nonces option length is out of range")
            end
            for at = 0, length - 8, 8 do
                item:add(f.nonce, range(at, 8))
            end
        elseif length > 0 then
            local range = from:add(item, f.option_value, length)
            if kind == 2 then
                certificate(range, pinfo, item)
            elseif kind == 3 and is_name(range) then
                item:add(f.option_name, range, range:string(ENC_UTF_8))
            end
        end
        item:set_len(from.at - start)
        if not OPTIONS[kind] then
            item:add_proto_expert_info(e.later)
        end
    end
end

-- "A receiver MUST refuse a statement whose link-layer or IP source is not one of the addresses it
-- states."
local function check_source(item, mac, ipv4, ipv6)
    local function differs(source, stated)
        return source and tostring(source.range:bytes()) ~= tostring(stated:bytes())
    end
    if differs(eth_source(), mac) or differs(ipv4_source(), ipv4) or differs(ipv6_source(), ipv6) then
        item:add_proto_expert_info(e.source)
    end
end

local function statement(from, pinfo, tree, anchor)
    from:add(tree, f.interface, 4)
    local epoch, epoch_item = from:add(tree, f.epoch, 8)
    local seconds = math.floor(epoch:uint64():tonumber() / 1000)
    if seconds < 2 ^ 33 then
        epoch_item:append_text(os.date("! (%Y-%m-%d %H:%M:%S UTC)", seconds))
    end
    from:add(tree, f.counter, 4)
    from:add(tree, f.time, 8)
    local generation = from:add(tree, f.generation, 4):uint()
    from:add(tree, f.digest, 16)
    local ipv4 = from:add(tree, f.ipv4, 4)
    local ipv6 = from:add(tree, f.ipv6, 16)
    local mac, mac_item = from:add(tree, f.mac, 6)
    check_source(mac_item, mac, ipv4, ipv6)
    local dead_hellos = from:add(tree, f.dead_hellos, 1)
    local flags = from:take(1)
    add_flags(tree, f.statement_flags, flags, { f.router }, 2)
    local interval = from:add(tree, f.hello_interval, 4)
    tree:add(f.dead_time, dead_hellos:uint() * interval:uint()):set_generated()
    from:add(tree, f.chain_end, 16)
    local chain_base = from:add(tree, f.chain_base, 4)
    local chain_length = from:add(tree, f.chain_length, 4)
    if dead_hellos:uint() == 0 or interval:uint() < 10 or interval:uint() > 60000 then
        malformed(interval, "hello timer is out of range")
    elseif chain_length:uint() > MAX_CHAIN_LENGTH or chain_base:uint() + chain_length:uint() >= 2 ^ 32 then
        malformed(chain_length, "chain length is out of range")
    end
    local router = has_bit(flags:uint(), 1) and " of a router" or ""
    if anchor then
        options(from, pinfo, tree)
        return string.format("Anchor%s, generation %d", router, generation)
    end

    local kind = from:add(tree, f.kind, 1)
    from:reserved(tree, 1)
    local part = from:add(tree, f.part, 2)
    local parts = from:add(tree, f.parts, 2)
    local since = from:add(tree, f.base_generation, 4):uint()
    if not KINDS[kind:uint()] then
        malformed(kind, "report kind is out of range")
    elseif kind:uint() == 0 and part:uint() >= parts:uint() then
        malformed(part, "part is out of range")
    end
    local count = from:add(tree, f.count, 2):uint()
    local records = {}
    for number = 1, count do
        local text = record(from, tree)
        if number <= 4 then
            records[number] = text
        end
    end
    options(from, pinfo, tree)
    local what = "Report"
    if kind:uint() == 1 then
        what = "Change since generation " .. since
    elseif parts:uint() > 1 then
        what = string.format("Report %d/%d", part:uint() + 1, parts:uint())
    end
    local list = #records > 0 and ": " .. table.concat(records, " ") or ""
    local more = count > #records and string.format(" and %d more", count - #records) or ""
    return string.format("%s%s, generation %d%s%s", what, router, generation, list, more)
end

local function hello(from, tree)
    local chain = from:add(tree, f.hello_chain, 8)
    local index = from:add(tree, f.hello_index, 4):uint()
    from:add(tree, f.hello_value, 16)
    return string.format("Hello %d of chain %s", index, chain(0, 4):bytes():tohex(true))
end

local function query(from, pinfo, tree)
    from:add(tree, f.query_epoch, 8)
    from:add(tree, f.query_counter, 4)
    local target, target_item = from:add(tree, f.query_target, 16)
    local whom = target(0, 4):bytes():tohex(true)
    if target:bytes():tohex() == string.rep("0", 32) then
        whom = "everybody"
        target_item:append_text(" (everybody)")
    end
    from:add(tree, f.nonce, 8)
    local response = from:add(tree, f.query_response, 2):uint()
    local flags = from:take(2)
    add_flags(tree, f.query_flags, flags, { f.query_refresh, f.query_anchor }, 4)
    from:add(tree, f.query_interval, 4)
    options(from, pinfo, tree)
    local wants = has_bit(flags:uint(), 1) and ", refresh" or ""
    if has_bit(flags:uint(), 2) then
        wants = wants .. ", an anchor is enough"
    end
    return string.format("Query to %s, answers within %d ms%s", whom, response, wants)
end

-- Reads a message into the tree; the text for the info column.
local function message(tvb, pinfo, tree)
    local size = tvb:reported_len()
    local from = cursor(tvb, 0, size)
    local first = from:take(1)
    local version, type = math.floor(first:uint() / 16), first:uint() % 16
    local version_item = tree:add(f.version, first)
    if version ~= VERSION then
        version_item:add_proto_expert_info(e.version)
        return "Version " .. version
    end
    local type_item = tree:add(f.type, first)
    local authentication, authentication_item = from:add(tree, f.authentication, 1)
    authentication = authentication:uint()
    local length = from:add(tree, f.length, 2)
    if length:uint() ~= size then
        malformed(length, string.format("length field says %d, datagram has %d bytes", length:uint(), size))
    end
    local member = from:add(tree, f.member, 16)
    if member:bytes():tohex() == string.rep("0", 32) then
        malformed(member, "member id is out of range")
    end
    local sender = member(0, 4):bytes():tohex(true) .. " "

    local known = TYPES[type] and (authentication == 0 or (authentication == 1 and type ~= HELLO))
    if not known then
        local item = TYPES[type] and authentication_item or type_item
        item:add_proto_expert_info(e.unknown)
        if from:left() > 0 then
            from:add(tree, f.body, from:left())
        end
        return sender .. string.format("Unknown type %d, authentication %d", type, authentication)
    end
    local signed = authentication == 1
    if signed then
        if from:left() < SIGNATURE_BYTES then
            from:take(SIGNATURE_BYTES)
        end
        from.to = size - SIGNATURE_BYTES
    end
    local body = tree:add(BODIES[type], rest(from))
    local info
    if type == HELLO then
        info = hello(from, body)
    elseif type == QUERY then
        info = query(from, pinfo, body)
    else
        info = statement(from, pinfo, body, type == ANCHOR)
    end
    if from:left() > 0 then
        local left = from:left()
        malformed(from:take(left), string.format("%d bytes too many", left))
    end
    if signed then
        from.to = size
        from:add(tree, f.signature, SIGNATURE_BYTES)
        info = info .. ", signed"
    end
    return sender .. info
end

function hamp.dissector(tvb, pinfo, root)
    pinfo.cols.protocol = "HAMP"
    local tree = root:add(hamp, tvb())
    local hops = ttl() or hop_limit()
    if hops and hops.value ~= 255 then
        tree:add_proto_expert_info(e.hop_limit)
    end
    local done, told = pcall(message, tvb, pinfo, tree)
    if not done then
        if type(told) ~= "table" then
            error(told, 0)
        end
        if told.expert == e.cut then
            tree:add_proto_expert_info(e.cut)
            told = "Cut by the capture"
        else
            tree:add_tvb_expert_info(told.expert, told.range or tvb(), "Not a message: " .. told.why)
            told = "Not a message: " .. told.why
        end
    end
    tree:append_text(": " .. told)
    pinfo.cols.info = told
    return tvb:reported_len()
end

DissectorTable.get("udp.port"):add(PORT, hamp)
