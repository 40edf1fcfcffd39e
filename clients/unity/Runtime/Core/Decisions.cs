using System.Collections.Generic;

namespace RLay
{
    /// <summary>A reset: what the algorithm asks of a new episode.</summary>
    public sealed class ResetRequest
    {
        /// <summary>null, long, ulong, or a BigInt where it exceeds 64 bits.</summary>
        public object Seed { get; internal set; }

        /// <summary>null where none were given.</summary>
        public Map Options { get; internal set; }

        internal NdArray Mask;
        internal object RawSeed;

        /// <summary>The seed as an int that depends on all of its bits; otherwise where there is none.</summary>
        public int SeedOr(int otherwise)
        {
            var big = Seed as BigInt;
            if (big != null)
            {
                uint mixed = 2166136261;
                foreach (byte one in big.RawBytes) mixed = (mixed ^ one) * 16777619;
                return (int)mixed;
            }
            if (!(Seed is long) && !(Seed is ulong)) return otherwise;
            ulong bits = Seed is long ? (ulong)(long)Seed : (ulong)Seed;
            return (int)(uint)(bits ^ (bits >> 32));
        }
    }

    public enum CallOperation
    {
        Get = 0,
        Call = 1,
        Set = 2,
        Render = 3
    }

    /// <summary>A call of the algorithm: an attribute, a method, or a frame.</summary>
    public sealed class CallRequest
    {
        public CallOperation Operation { get; internal set; }

        public string Name { get; internal set; }

        public IList<object> Arguments { get; internal set; }

        public Map Keywords { get; internal set; }
    }

    /// <summary>Reads the decisions of one session: what the algorithm's end says.</summary>
    internal sealed class DecisionReader
    {
        private readonly Agreement agreement;

        public DecisionReader(Agreement agreement)
        {
            this.agreement = agreement;
        }

        public ResetRequest Reset(Message message)
        {
            Expect(message, MessageKind.Reset);
            List<object> items = message.Tail(0, 3, true);
            var reset = new ResetRequest { RawSeed = items[0], Seed = items[0], Options = items[1] as Map };
            if (items[1] != null && reset.Options == null) throw new ProtocolException("the options of a RESET are no map");
            reset.Mask = items[2] as NdArray;
            if (items[2] != null) CheckMask(reset.Mask);
            var seeds = items[0] as List<object>;
            if (seeds == null)
            {
                CheckSeed(items[0]);
                return reset;
            }
            if (agreement.Lanes == 0 || seeds.Count != agreement.Lanes) throw new ProtocolException("a RESET has too many seeds");
            foreach (object seed in seeds) CheckSeed(seed);
            return reset;
        }

        /// <summary>The action; the mask says which environments of a batch reset instead.</summary>
        public object Step(Message message, out NdArray mask)
        {
            Expect(message, MessageKind.Step);
            Layout layout = agreement.Decisions;
            mask = null;
            if (message.Has(Protocol.FlagFixed))
            {
                object variable = message.Has(Protocol.FlagTail) ? message.Tail(layout.Bytes, 3)[0] : null;
                object action = ElementReader.Load(layout, agreement.ActionSpace, message, variable);
                if (agreement.Lanes > 0) mask = ElementReader.LoadExtra(layout, 0, message);
                if (!message.Has(Protocol.FlagTail) && message.Size != layout.Bytes)
                {
                    throw new ProtocolException("a STEP is not its fixed area and nothing else");
                }
                return action;
            }
            List<object> items = message.Tail(0, 3);
            if (items[2] != null)
            {
                mask = Message.Unbox(items[2]) as NdArray;
                CheckMask(mask);
            }
            return Message.Unbox(items[1]);
        }

        public static CallRequest Call(Message message)
        {
            Expect(message, MessageKind.Call);
            List<object> items = message.Tail(0, 4);
            var name = items[1] as string;
            var arguments = items[2] as List<object>;
            var keywords = items[3] as Map;
            if (!(items[0] is long) || (long)items[0] < 0 || (long)items[0] > 3 || name == null || arguments == null || keywords == null)
            {
                throw new ProtocolException("a CALL is malformed");
            }
            return new CallRequest
            {
                Operation = (CallOperation)(long)items[0], Name = name, Arguments = arguments, Keywords = keywords
            };
        }

        public static Reason Close(Message message)
        {
            Expect(message, MessageKind.Close);
            object reason = message.Tail(0, 1)[0];
            if (!(reason is long)) throw new ProtocolException("a CLOSE has no reason");
            return (long)reason >= 0 && (long)reason <= 7 ? (Reason)(long)reason : Reason.Closed;
        }

        private static void Expect(Message message, MessageKind kind)
        {
            if (message.Kind != kind || message.Has(Protocol.FlagRecord)) throw new ProtocolException("a " + kind + " is malformed");
        }

        private void CheckMask(NdArray mask)
        {
            if (mask == null || mask.DType != DType.Bool || mask.Rank != 1 || agreement.Lanes == 0 || mask.Count != agreement.Lanes)
            {
                throw new ProtocolException("a mask is not one bool for each environment of a batch");
            }
        }

        private static void CheckSeed(object seed)
        {
            if (seed != null && !(seed is long) && !(seed is ulong) && !(seed is BigInt))
            {
                throw new ProtocolException("a seed is no integer");
            }
        }
    }
}
