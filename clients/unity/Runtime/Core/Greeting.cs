using System;
using System.Collections.Generic;

namespace RLay
{
    /// <summary>A HELLO or a WELCOME, which differ in two keys.</summary>
    internal sealed class Greeting
    {
        public Paradigm Paradigm;
        public uint Generation;
        public Map Environment;
        public Map Wishes;
        public string Software = Protocol.Software;
        public uint Capabilities;
        public long MaxMessageBytes = Protocol.DefaultMaxMessageBytes;

        public static Greeting ReadHello(byte[] payload)
        {
            Map map = GreetingBytes.Read(payload);
            var hello = new Greeting { Paradigm = (Paradigm)Fields.Count(map, "paradigm", 2, 1) };
            hello.ReadRest(map);
            return hello;
        }

        public static Greeting ReadWelcome(byte[] payload)
        {
            Map map = GreetingBytes.Read(payload);
            var welcome = new Greeting { Generation = (uint)Fields.Count(map, "generation", uint.MaxValue) };
            welcome.ReadRest(map);
            return welcome;
        }

        public byte[] WriteHello()
        {
            return GreetingBytes.Write(Rest(new Map { { "paradigm", (long)Paradigm } }));
        }

        public byte[] WriteWelcome()
        {
            return GreetingBytes.Write(Rest(new Map { { "generation", (long)Generation } }));
        }

        private Map Rest(Map map)
        {
            map.Add("environment", Environment);
            map.Add("wishes", Wishes);
            map.Add("software", Software);
            map.Add("capabilities", (long)Capabilities);
            map.Add("max_message_bytes", MaxMessageBytes);
            return map;
        }

        private void ReadRest(Map map)
        {
            Environment = Fields.Optional<Map>(map, "environment");
            Wishes = Fields.Optional<Map>(map, "wishes");
            Software = Fields.Required<string>(map, "software");
            Capabilities = (uint)Fields.Count(map, "capabilities", uint.MaxValue);
            MaxMessageBytes = Fields.Count(map, "max_message_bytes", long.MaxValue, 1);
        }
    }

    /// <summary>Why a client is not taken.</summary>
    internal static class Refusal
    {
        public static byte[] Write(RLayException why)
        {
            return GreetingBytes.Write(new Map
            {
                { "code", (long)why.Code },
                { "message", Texts.Shortened(why.Message, Protocol.MaxRemoteMessageBytes) },
                { "remote_type", Texts.Shortened(why.RemoteType, Protocol.MaxRemoteTypeBytes) },
                { "traceback", Texts.Shortened(why.RemoteTraceback, Protocol.MaxRemoteTracebackBytes) }
            });
        }

        public static RefusedException Read(byte[] payload)
        {
            Map map = GreetingBytes.Read(payload);
            return new RefusedException((ErrorCode)Fields.Count(map, "code", int.MaxValue), Fields.Required<string>(map, "message"))
            {
                RemoteType = Fields.Required<string>(map, "remote_type"),
                RemoteTraceback = Fields.Required<string>(map, "traceback")
            };
        }
    }

    internal static class GreetingBytes
    {
        private const int HeadBytes = 16;

        private static readonly byte[] magic = { (byte)'R', (byte)'L', (byte)'A', (byte)'Y', (byte)'H', (byte)'E', (byte)'L', (byte)'O' };

        public static byte[] Write(Map map)
        {
            var buffer = new ByteBuffer();
            buffer.Put(magic, 0, magic.Length);
            buffer.PutLittleEndian(Protocol.Version, 4);
            buffer.PutLittleEndian(Protocol.Minor, 4);
            new ValueEncoder(buffer).Encode(map);
            return buffer.ToArray();
        }

        /// <summary>Magic and version come first, so that ends of different versions can refuse each other.</summary>
        public static Map Read(byte[] payload)
        {
            if (payload.Length <= HeadBytes) throw new ProtocolException("a greeting is too short");
            for (int i = 0; i < magic.Length; i++)
            {
                if (payload[i] != magic[i]) throw new ProtocolException("this is no greeting");
            }
            uint version = BitConverter.ToUInt32(payload, 8);
            if (version != Protocol.Version) throw new VersionMismatchException("the other end", version);
            var body = new byte[payload.Length - HeadBytes];
            Buffer.BlockCopy(payload, HeadBytes, body, 0, body.Length);
            var map = ValueDecoder.FromBytes(body) as Map;
            if (map == null) throw new ProtocolException("a greeting is no map");
            return map;
        }
    }

    /// <summary>The keys of a map from the other end, each with its type.</summary>
    internal static class Fields
    {
        public static T Required<T>(Map map, string key)
        {
            object value;
            if (!map.TryGetValue(key, out value) || !(value is T)) throw Odd(key);
            return (T)value;
        }

        public static T Optional<T>(Map map, string key) where T : class
        {
            object value;
            if (!map.TryGetValue(key, out value) || value == null) return null;
            if (!(value is T)) throw Odd(key);
            return (T)value;
        }

        public static long Count(Map map, string key, long most, long least = 0)
        {
            long value = Required<long>(map, key);
            if (value < least || value > most) throw Odd(key);
            return value;
        }

        public static string OptionalMode(Map map)
        {
            string mode = Optional<string>(map, "autoreset_mode");
            if (mode != null && mode != "NextStep" && mode != "SameStep" && mode != "Disabled") throw Odd("autoreset_mode");
            return mode;
        }

        private static ProtocolException Odd(string key)
        {
            return new ProtocolException("malformed greeting: the field " + key + " is missing or not as it must be");
        }
    }

    /// <summary>What the algorithm's end asks of the environment's end.</summary>
    internal sealed class Wishes
    {
        public string RenderMode;
        public string AutoresetMode;
        public bool Vector;
        public long? NumEnvs;
        public Space ObservationSpace;
        public Space ActionSpace;

        public static Wishes Parse(Map map)
        {
            var wishes = new Wishes
            {
                RenderMode = Fields.Optional<string>(map, "render_mode"),
                AutoresetMode = Fields.OptionalMode(map),
                Vector = Fields.Required<bool>(map, "vector")
            };
            if (map.ContainsKey("num_envs") && map["num_envs"] != null) wishes.NumEnvs = Fields.Count(map, "num_envs", Protocol.MaxNumEnvs, 1);
            List<object> space = Fields.Optional<List<object>>(map, "observation_space");
            if (space != null) wishes.ObservationSpace = Space.Parse(space);
            space = Fields.Optional<List<object>>(map, "action_space");
            if (space != null) wishes.ActionSpace = Space.Parse(space);
            return wishes;
        }

        public Map Pack()
        {
            return new Map
            {
                { "render_mode", RenderMode },
                { "autoreset_mode", AutoresetMode },
                { "vector", Vector },
                { "num_envs", NumEnvs.HasValue ? (object)NumEnvs.Value : null },
                { "observation_space", ObservationSpace == null ? null : ObservationSpace.Describe() },
                { "action_space", ActionSpace == null ? null : ActionSpace.Describe() }
            };
        }
    }

    /// <summary>What the environment's end says of its environment.</summary>
    internal sealed class Facts
    {
        public Space ObservationSpace { get; set; }
        public Space ActionSpace { get; set; }
        public int NumEnvs = 1;
        public bool Vector { get; set; }
        public Map Metadata = new Map();
        public string RenderMode { get; set; }
        public Map Spec { get; set; }
        public Map Allow = new Map();
        public string AutoresetMode { get; set; }

        public Agreement Agree()
        {
            return new Agreement(ObservationSpace, ActionSpace, Vector ? NumEnvs : 0);
        }

        public Map Pack()
        {
            Agreement agreement = Agree();
            return new Map
            {
                { "observation_space", ObservationSpace.Describe() },
                { "action_space", ActionSpace.Describe() },
                { "num_envs", (long)NumEnvs },
                { "metadata", Metadata },
                { "render_mode", RenderMode },
                { "spec", Spec },
                { "allow", Allow },
                { "autoreset_mode", AutoresetMode },
                { "vector", Vector },
                { "report_layout", agreement.Reports.Table() },
                { "decision_layout", agreement.Decisions.Table() }
            };
        }
    }
}
