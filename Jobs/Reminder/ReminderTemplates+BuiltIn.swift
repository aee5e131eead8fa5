extension ReminderTemplates {
    /// The texts that come with Reeve, by language.
    static let builtIn: [String: String] = [
        "en": #"""
        {"date": "{{day}} {{month}} {{year}}",
         "months": ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"],
         "greeting": "Hello {{contact_name}},", "greeting_unnamed": "Hello,",
         "many": {"subject": "{{days}} days left in the trial of {{tenant_name}}", "heading": "{{days}} days left in your trial",
           "paragraphs": ["The trial of {{tenant_name}} ends on {{ends_on}}.", "Choose a plan before then and everything stays as it is: your data, your people and your settings."],
           "button": "Choose a plan"},
         "tomorrow": {"subject": "The trial of {{tenant_name}} ends tomorrow", "heading": "Your trial ends tomorrow",
           "paragraphs": ["The trial of {{tenant_name}} ends tomorrow, {{ends_on}}.", "Choose a plan today and nobody has to stop working."], "button": "Choose a plan"},
         "today": {"subject": "The trial of {{tenant_name}} ends today", "heading": "Your trial ends today",
           "paragraphs": ["The trial of {{tenant_name}} ends today, {{ends_on}}.", "Choose a plan to go on. If this is not the moment, you need not do anything."], "button": "Choose a plan"},
         "signature": "The {{brand}} team", "why": "You get this mail as the contact of {{tenant_name}}.", "unsubscribe": "No more reminders"}
        """#,
        "de": #"""
        {"date": "{{day}}. {{month}} {{year}}",
         "months": ["Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember"],
         "greeting": "Guten Tag {{contact_name}},", "greeting_unnamed": "Guten Tag,",
         "many": {"subject": "Noch {{days}} Tage: Testphase von {{tenant_name}}", "heading": "Noch {{days}} Tage Testphase",
           "paragraphs": ["Die Testphase von {{tenant_name}} endet am {{ends_on}}.", "Wählen Sie vorher einen Tarif, dann bleibt alles, wie es ist: Ihre Daten, Ihr Team und Ihre Einstellungen."],
           "button": "Tarif wählen"},
         "tomorrow": {"subject": "Die Testphase von {{tenant_name}} endet morgen", "heading": "Ihre Testphase endet morgen",
           "paragraphs": ["Die Testphase von {{tenant_name}} endet morgen, am {{ends_on}}.", "Wählen Sie heute einen Tarif, dann arbeiten alle ohne Unterbrechung weiter."], "button": "Tarif wählen"},
         "today": {"subject": "Die Testphase von {{tenant_name}} endet heute", "heading": "Ihre Testphase endet heute",
           "paragraphs": ["Die Testphase von {{tenant_name}} endet heute, am {{ends_on}}.", "Mit einem Tarif geht es weiter. Passt es gerade nicht, brauchen Sie nichts zu tun."], "button": "Tarif wählen"},
         "signature": "Ihr Team von {{brand}}", "why": "Sie erhalten diese Nachricht als Kontakt von {{tenant_name}}.", "unsubscribe": "Keine Erinnerungen mehr"}
        """#,
        "fr": #"""
        {"date": "{{day}} {{month}} {{year}}",
         "months": ["janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre"],
         "greeting": "Bonjour {{contact_name}},", "greeting_unnamed": "Bonjour,",
         "many": {"subject": "Plus que {{days}} jours d’essai pour {{tenant_name}}", "heading": "Il vous reste {{days}} jours d’essai",
           "paragraphs": ["L’essai de {{tenant_name}} se termine le {{ends_on}}.", "Choisissez une formule avant cette date et tout reste en place : vos données, votre équipe et vos réglages."],
           "button": "Choisir une formule"},
         "tomorrow": {"subject": "L’essai de {{tenant_name}} se termine demain", "heading": "Votre essai se termine demain",
           "paragraphs": ["L’essai de {{tenant_name}} se termine demain, le {{ends_on}}.", "Choisissez une formule aujourd’hui et personne n’aura à s’interrompre."], "button": "Choisir une formule"},
         "today": {"subject": "L’essai de {{tenant_name}} se termine aujourd’hui", "heading": "Votre essai se termine aujourd’hui",
           "paragraphs": ["L’essai de {{tenant_name}} se termine aujourd’hui, le {{ends_on}}.", "Choisissez une formule pour continuer. Si ce n’est pas le moment, vous n’avez rien à faire."], "button": "Choisir une formule"},
         "signature": "L’équipe {{brand}}", "why": "Vous recevez ce message en tant que contact de {{tenant_name}}.", "unsubscribe": "Ne plus recevoir de rappels"}
        """#,
        "es": #"""
        {"date": "{{day}} de {{month}} de {{year}}",
         "months": ["enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"],
         "greeting": "Hola, {{contact_name}}:", "greeting_unnamed": "Hola:",
         "many": {"subject": "Quedan {{days}} días de prueba de {{tenant_name}}", "heading": "Le quedan {{days}} días de prueba",
           "paragraphs": ["La prueba de {{tenant_name}} termina el {{ends_on}}.", "Elija un plan antes de esa fecha y todo seguirá como está: sus datos, su equipo y sus ajustes."],
           "button": "Elegir un plan"},
         "tomorrow": {"subject": "La prueba de {{tenant_name}} termina mañana", "heading": "Su prueba termina mañana",
           "paragraphs": ["La prueba de {{tenant_name}} termina mañana, {{ends_on}}.", "Elija hoy un plan y nadie tendrá que parar."], "button": "Elegir un plan"},
         "today": {"subject": "La prueba de {{tenant_name}} termina hoy", "heading": "Su prueba termina hoy",
           "paragraphs": ["La prueba de {{tenant_name}} termina hoy, {{ends_on}}.", "Elija un plan para continuar. Si no es el momento, no tiene que hacer nada."], "button": "Elegir un plan"},
         "signature": "El equipo de {{brand}}", "why": "Recibe este mensaje como contacto de {{tenant_name}}.", "unsubscribe": "No recibir más recordatorios"}
        """#,
    ]
}
