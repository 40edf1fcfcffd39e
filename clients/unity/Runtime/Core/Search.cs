using System;
using System.Collections.Generic;

namespace RLay
{
    /// <summary>Looks for a ServerEnv and greets it, one look at a time, without waiting.</summary>
    internal sealed class Search : IDisposable
    {
        private const double RestSeconds = 0.02;

        private readonly string name;
        private readonly AttachOptions options;
        private readonly byte[] hello;
        private readonly HashSet<string> passedOver = new HashSet<string>();
        private IClientEnd end;

        public Search(string name, AttachOptions options, byte[] hello)
        {
            this.name = name;
            this.options = options;
            this.hello = hello;
            Problem = "no channel '" + name + "' exists";
        }

        /// <summary>What is in the way, for messages.</summary>
        public string Problem { get; private set; }

        /// <summary>Makes as much headway as is possible now; the end is the caller's once there is a session.</summary>
        public bool Look(Agreement agreement, out IClientEnd found, out SlotSession session)
        {
            found = null;
            session = null;
            try
            {
                if (end == null && !Open()) return false;
                ulong incarnation, sessionId;
                Greeting welcome = end.LookForWelcome(out incarnation, out sessionId);
                if (welcome == null)
                {
                    Problem = "the server of channel '" + end.Name + "' is alive but has not answered yet: a ServerEnv takes games in with reset()";
                    return false;
                }
                session = end.Attach(welcome, incarnation, sessionId, agreement.Reports.Bytes, agreement.Decisions.Bytes);
                found = end;
                end = null;
                passedOver.Clear();
                return true;
            }
            catch (RLayException error)
            {
                Problem = error.Message;
                if (error.Code == ErrorCode.Busy && end != null) passedOver.Add(end.Name);
                GiveUp();
                if (!IsPassing(error)) throw;
                return false;
            }
        }

        /// <summary>Waits a while before the next look; less where an answer comes.</summary>
        public void Rest(double seconds)
        {
            if (end != null) end.Rest(Math.Min(seconds, RestSeconds));
            else System.Threading.Thread.Sleep((int)(1000 * Math.Min(seconds, RestSeconds)));
        }

        public void GiveUp()
        {
            if (end != null) end.Dispose();
            end = null;
        }

        public void Dispose()
        {
            GiveUp();
        }

        private static bool IsPassing(RLayException error)
        {
            return error is PeerGoneException || error.Code == ErrorCode.Busy || error.Code == ErrorCode.Draining || error.Code == ErrorCode.NotFound;
        }

        private bool Open()
        {
            foreach (string candidate in Candidates())
            {
                if (passedOver.Contains(candidate)) continue;
                try
                {
                    end = Attaching.OpenClient(candidate, options, Paradigm.ServerEnv);
                    break;
                }
                catch (RLayException error)
                {
                    Problem = error.Message;
                    if (!IsPassing(error)) throw;
                }
            }
            if (end == null)
            {
                passedOver.Clear();
                return false;
            }
            end.BeginHello(hello, Ids.Draw(), 0);
            return true;
        }

        /// <summary>The name itself, or the channels of a group name.*.</summary>
        private List<string> Candidates()
        {
            if (Attaching.IsAddress(name) || !name.EndsWith(".*", StringComparison.Ordinal)) return new List<string> { name };
            string group = name.Substring(0, name.Length - 2);
            Names.Check(group);
            using (ChannelDirectory directory = ChannelDirectory.Open(options.Directory, false)) return directory.GroupMembers(group);
        }
    }
}
