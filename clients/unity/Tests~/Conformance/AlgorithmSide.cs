using System.Collections.Generic;

namespace RLay.Conformance
{
    /// <summary>The half that an environment's client has not: reading reports, writing decisions.</summary>
    internal static unsafe class AlgorithmSide
    {
        public static Map Read(Agreement agreement, Message message)
        {
            switch (message.Kind)
            {
                case MessageKind.Ready:
                    message.Tail(0, 0);
                    return new Map();
                case MessageKind.ResetResult:
                    return ReadElement(agreement, message, message.Tail(agreement.Reports.Bytes, 3));
                case MessageKind.Transition:
                    return ReadTransition(agreement, message);
                case MessageKind.CallResult:
                    return new Map { { "value", message.Tail(0, 1)[0] } };
                case MessageKind.Failure:
                    List<object> items = message.Tail(0, 4);
                    return new Map { { "code", items[0] }, { "type", items[1] }, { "message", items[2] }, { "traceback", items[3] } };
                default:
                    throw new ProtocolException("this is no report");
            }
        }

        public static void Write(Agreement agreement, string kind, Map says, Draft draft)
        {
            if (kind == "RESET") draft.AppendTail(new List<object> { says["seed"], says["options"], says["mask"] }, true);
            else if (kind == "CALL") draft.AppendTail(new List<object> { says["operation"], says["name"], says["args"], says["kwargs"] });
            else if (kind == "CLOSE") draft.AppendTail(new List<object> { says["reason"] });
            else WriteStep(agreement, says["action"], says["reset_mask"], draft);
        }

        private static void WriteStep(Agreement agreement, object action, object mask, Draft draft)
        {
            Layout layout = agreement.Decisions;
            var elements = new ElementWriter(layout, agreement.ActionSpace);
            if (!elements.Store(action, draft.Room))
            {
                draft.AppendTail(new List<object> { null, new List<object> { action }, mask == null ? null : new List<object> { mask } });
                return;
            }
            if (agreement.Lanes > 0) elements.StoreExtra(0, mask ?? NdArray.Zeros(DType.Bool, agreement.Lanes), draft.Room);
            draft.Word |= Protocol.FlagFixed;
            draft.Size = layout.Bytes;
            if (layout.IsVariable) draft.AppendTail(new List<object> { elements.Variable, null, null });
        }

        private static Map ReadElement(Agreement agreement, Message message, List<object> items)
        {
            object observation = message.Has(Protocol.FlagFixed)
                ? ElementReader.Load(agreement.Reports, agreement.ObservationSpace, message, items == null ? null : items[0])
                : Message.Unbox(items[1]);
            return new Map
            {
                { "observation", observation }, { "info", items == null || items[2] == null ? new Map() : Message.Unbox(items[2]) }
            };
        }

        private static Map ReadTransition(Agreement agreement, Message message)
        {
            List<object> items = message.Has(Protocol.FlagTail) ? message.Tail(agreement.Reports.Bytes, 6) : null;
            Map read = ReadElement(agreement, message, items);
            if (message.Has(Protocol.FlagRecord))
            {
                read["info"] = RecordWriter.Unpack(message.Payload + agreement.Reports.Bytes, message.Size - agreement.Reports.Bytes);
            }
            if (agreement.Lanes > 0)
            {
                string[] names = { "reward", "terminated", "truncated" };
                for (int i = 0; i < names.Length; i++)
                {
                    read[names[i]] = items != null && items[3 + i] != null ? Message.Unbox(items[3 + i])
                        : ElementReader.LoadExtra(agreement.Reports, i, message);
                }
                return read;
            }
            object reward;
            if (message.Header.RewardType == 0) reward = Message.Unbox(items[3]);
            else if (!Numbers.Unpack(message.Header.RewardType, message.Header.Reward, out reward)) throw new ProtocolException("the reward is malformed");
            read["reward"] = reward;
            bool boxed = items != null && items[4] != null;
            read["terminated"] = boxed ? Message.Unbox(items[4]) : Flag(message, Protocol.FlagTerminated, Protocol.FlagNumpyTerminated);
            read["truncated"] = boxed ? Message.Unbox(items[5]) : Flag(message, Protocol.FlagTruncated, Protocol.FlagNumpyTruncated);
            return read;
        }

        private static object Flag(Message message, uint bit, uint numpyBit)
        {
            return message.Has(numpyBit) ? (object)Scalar.Of(message.Has(bit)) : message.Has(bit);
        }
    }
}
