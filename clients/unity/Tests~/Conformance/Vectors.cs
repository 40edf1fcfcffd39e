using System;
using System.Collections.Generic;
using System.IO;
using System.Text;

namespace RLay.Conformance
{
    /// <summary>Reads and writes each golden vector.</summary>
    internal sealed class Vectors
    {
        private readonly TextWriter output;

        public Vectors(TextWriter output)
        {
            this.output = output;
        }

        public void Run(string path)
        {
            foreach (object one in (List<object>)ValueDecoder.FromBytes(File.ReadAllBytes(path), true))
            {
                var vector = (Map)one;
                var id = (string)vector["id"];
                string verdict;
                try
                {
                    Check(id.Substring(0, id.IndexOf('/')), vector);
                    verdict = "ok\t" + id;
                }
                catch (NotSupportedException error)
                {
                    verdict = "unsupported\t" + id + "\t" + error.Message;
                }
                catch (Exception error)
                {
                    verdict = "fail\t" + id + "\t" + error.GetType().Name + ": " + error.Message.Replace('\n', ' ').Replace('\t', ' ');
                }
                output.WriteLine(verdict);
            }
            output.Flush();
        }

        private static void Check(string file, Map vector)
        {
            switch (file)
            {
                case "values":
                    CheckValue(vector);
                    break;
                case "numbers":
                    CheckNumber(vector);
                    break;
                case "spaces":
                    CheckSpace(vector);
                    break;
                case "decisions":
                case "reports":
                    new MessageVector(vector, file == "decisions").Check();
                    break;
                case "parts":
                    new MessageVector(vector, false).CheckParts();
                    break;
                case "greetings":
                    CheckGreeting(vector);
                    break;
                case "slots":
                    SlotVector.Check(vector);
                    break;
                case "frames":
                    throw new NotSupportedException("frames are of direct attach, which this client has not");
                default:
                    throw new InvalidDataException("there is no file of vectors " + file);
            }
        }

        private static void CheckValue(Map vector)
        {
            var hex = (byte[])vector["hex"];
            var group = (string)vector["group"];
            if (group == "refused")
            {
                try
                {
                    ValueDecoder.FromBytes(hex);
                }
                catch (ProtocolException)
                {
                    return;
                }
                throw new InvalidDataException("it was not refused: " + vector["why"]);
            }
            bool big = group == "in a RESET only";
            Same("read and written", ValueEncoder.ToBytes(ValueDecoder.FromBytes(hex, big), big), hex);
            Same("written", ValueEncoder.ToBytes(vector["value"], big), hex);
        }

        private static void CheckNumber(Map vector)
        {
            var hex = (byte[])vector["hex"];
            ulong bits;
            uint code = Numbers.Pack(vector["value"], out bits);
            if (code != (long)vector["code"]) throw new InvalidDataException("code " + code);
            Same("written", BitConverter.GetBytes(bits), hex);
            object read;
            if (!Numbers.Unpack(code, BitConverter.ToUInt64(hex, 0), out read)) throw new InvalidDataException("it was refused");
            SameValue("read", read, vector["value"]);
        }

        private static void CheckSpace(Map vector)
        {
            Space space = Space.Parse(ValueDecoder.FromBytes((byte[])vector["hex"]));
            Same("written", ValueEncoder.ToBytes(space.Describe()), (byte[])vector["hex"]);
            SameValue("description", space.Describe(), vector["description"]);
            var layouts = (Map)vector["layouts"];
            SameValue("of one environment", new Layout(space, 0, true).Table(), layouts["of one environment"]);
            SameValue("of one environment", new Layout(space, 0, false).Table(), layouts["of one environment"]);
            SameValue("of reports of three", new Layout(space, 3, true).Table(), layouts["of reports of three"]);
            SameValue("of decisions of three", new Layout(space, 3, false).Table(), layouts["of decisions of three"]);
        }

        private static void CheckGreeting(Map vector)
        {
            var hex = (byte[])vector["hex"];
            switch ((string)vector["kind"])
            {
                case "HELLO":
                    Greeting hello = Greeting.ReadHello(hex);
                    Understand(hello);
                    Same("written", hello.WriteHello(), hex);
                    break;
                case "WELCOME":
                    Greeting welcome = Greeting.ReadWelcome(hex);
                    Understand(welcome);
                    Same("written", welcome.WriteWelcome(), hex);
                    break;
                default:
                    Same("written", Refusal.Write(Refusal.Read(hex)), hex);
                    break;
            }
        }

        /// <summary>Puts facts and wishes together again out of what was read.</summary>
        private static void Understand(Greeting greeting)
        {
            if (greeting.Wishes != null) greeting.Wishes = Wishes.Parse(greeting.Wishes).Pack();
            Map map = greeting.Environment;
            if (map == null) return;
            var facts = new Facts
            {
                ObservationSpace = Space.Parse(map["observation_space"]), ActionSpace = Space.Parse(map["action_space"]),
                NumEnvs = (int)Fields.Count(map, "num_envs", Protocol.MaxNumEnvs, 1), Vector = Fields.Required<bool>(map, "vector"),
                Metadata = Fields.Required<Map>(map, "metadata"), RenderMode = Fields.Optional<string>(map, "render_mode"),
                Spec = Fields.Optional<Map>(map, "spec"), Allow = Fields.Required<Map>(map, "allow"),
                AutoresetMode = Fields.OptionalMode(map)
            };
            greeting.Environment = facts.Pack();
        }

        public static void Same(string what, byte[] ours, byte[] theirs)
        {
            if (Hex(ours) != Hex(theirs)) throw new InvalidDataException(what + ": " + Hex(ours) + ", expected " + Hex(theirs));
        }

        public static void SameValue(string what, object ours, object theirs)
        {
            Same(what, ValueEncoder.ToBytes(ours, true), ValueEncoder.ToBytes(theirs, true));
        }

        private static string Hex(byte[] bytes)
        {
            var text = new StringBuilder(2 * bytes.Length);
            foreach (byte one in bytes) text.Append(one.ToString("x2"));
            return text.ToString();
        }
    }
}
